"""The key-value pool: per layer, one tensor of keys and one of values, cut into blocks of tokens."""

import math
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

# The largest share of one core's L2 cache that still let a block's product run at memory speed: with 16 tokens the
# calls dominate, with 64 and 128 MKL's small products ran at half the bandwidth of 32 (measured at head sizes 32, 64).
BLOCK_SIZE = 32


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one attention layer keeps for a token, and how far back it looks (`window` tokens; None for all).

    `plain` is whether its weights are the softmax of its scores, neither soft-capped nor shared with sinks.
    """

    heads: int
    key_dim: int
    value_dim: int
    key_dtype: torch.dtype
    value_dtype: torch.dtype
    window: int | None
    plain: bool = True

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values."""
        return self.heads * (self.key_dim * self.key_dtype.itemsize + self.value_dim * self.value_dtype.itemsize)


class KeyValuePool:
    """`count` blocks of BLOCK_SIZE tokens for every layer."""

    def __init__(self, layers: Sequence[LayerShape], count: int, device: torch.device) -> None:
        self.layers = list(layers)
        self.count = count
        self.keys = [_zeros((count, s.heads, BLOCK_SIZE, s.key_dim), s.key_dtype, device) for s in layers]
        self.values = [_zeros((count, s.heads, BLOCK_SIZE, s.value_dim), s.value_dtype, device) for s in layers]

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        """Store `keys` and `values` (tokens, heads, dim) at `slots` (tokens * heads,), from `token_slots`."""
        pool_keys, pool_values = self.keys[layer], self.values[layer]
        pool_keys.view(-1, pool_keys.shape[-1]).index_copy_(0, slots, keys.reshape(-1, keys.shape[-1]))
        pool_values.view(-1, pool_values.shape[-1]).index_copy_(0, slots, values.reshape(-1, values.shape[-1]))

    def copy(self, sources: list[int], destinations: list[int]) -> None:
        """Copy whole blocks in every layer; all sources are read before any destination is written."""
        if not sources:
            return
        device = self.keys[0].device
        source, destination = torch.tensor(sources, device=device), torch.tensor(destinations, device=device)
        for tensor in (*self.keys, *self.values):
            tensor.index_copy_(0, destination, tensor.index_select(0, source))


def token_slots(blocks: np.ndarray, offsets: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a pool tensor seen as (count * heads * BLOCK_SIZE, dim), token by token and head by head."""
    first = blocks * (heads * BLOCK_SIZE) + offsets  # (tokens,)
    return (first[:, None] + np.arange(heads) * BLOCK_SIZE).reshape(-1)


def bytes_per_block(layers: Sequence[LayerShape]) -> int:
    """Bytes that one block takes over all layers."""
    return BLOCK_SIZE * sum(shape.bytes_per_token for shape in layers)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros. On a CPU their pages are not touched until they are used, so a generous limit costs no memory.

    In huge pages where the system has them: rows write and read all over the pool, and a page fault for every 16 tokens
    of a head took a tenth of a step.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or not size:
        return torch.zeros(shape, dtype=dtype, device=device)
    if os.name != "posix":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones are never huge by default
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)
