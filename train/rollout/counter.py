"""Counter-based random numbers: the number for a token is a function of what the token is, not of what ran before.

The generator is splitmix64 (Steele, Lea and Flood, 2014), whose n-th output is a hash of `key + n * gamma`. The key
of a row hashes (seed, step, problem, sample), and n is the token's position in the completion, so a rollout draws the
same numbers whatever shares its batch, whenever it was admitted, and however often it was preempted.
"""

import hashlib
from collections.abc import Sequence

import torch

_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_MASK64 = (1 << 64) - 1


def _signed(value: int) -> int:
    """The int64 with the same 64 bits as `value`: torch multiplies and adds int64 modulo 2^64."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def _mix(value: int) -> int:
    """splitmix64's finaliser on one Python integer."""
    value &= _MASK64
    value = ((value ^ (value >> 30)) * _MIX1) & _MASK64
    value = ((value ^ (value >> 27)) * _MIX2) & _MASK64
    return value ^ (value >> 31)


def problem_key(prompt: Sequence[int]) -> int:
    """A 64-bit key for a prompt from its token ids, stable across processes and machines."""
    digest = hashlib.blake2b(",".join(map(str, prompt)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def row_key(seed: int, step: int, problem: int, sample: int) -> int:
    """The signed 64-bit key of one rollout."""
    key = 0
    for part in (seed, step, problem, sample):
        key = _mix((key + _GAMMA) ^ _mix(part + _GAMMA))
    return _signed(key)


def _shift_right(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64, whose own shift copies the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def uniforms(keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Uniform numbers in [0, 1) for rows of `keys` (rows,) at token `positions` (rows,): float64 with 53 bits."""
    value = keys + (positions + 1) * _signed(_GAMMA)
    value = (value ^ _shift_right(value, 30)) * _signed(_MIX1)
    value = (value ^ _shift_right(value, 27)) * _signed(_MIX2)
    value = value ^ _shift_right(value, 31)
    return _shift_right(value, 11).double() * 2.0**-53
