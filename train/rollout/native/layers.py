"""A model's norms, rotary embeddings and gated activations as one kernel each, for as long as one call lasts.

transformers writes them as two to ten operations each. At decode sizes on a CPU every one costs its call, a pass over
memory and a wait for the other threads. As in `fused.py`, a trial decides what a kernel can replace: the module and the
kernel must give the same result on some numbers.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from train.rollout.dense.fused import FusedNorms
from train.rollout.module_state import evaluation_mode

ROTARY = "apply_rotary_pos_emb"  # what transformers calls it in the file of every model
_CLOSE = 1e-6  # of the numbers near 1 in a trial


class NativeLayers:
    """The parts of `model` that `torch.ops.rethink` can replace; all that is not float32 on a CPU runs unchanged."""

    def __init__(self, model: nn.Module) -> None:
        self._norms = FusedNorms(model, _rms_norm)
        self._rotations = [_Rotation(module) for module in rotary_files(model)]
        kinds: dict[type, bool] = {}
        self._gated: list[tuple[nn.Module, _Gated]] = []
        for module in model.modules():
            if not all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
                continue
            if type(module) not in kinds:
                with evaluation_mode(module):  # a dropout in it would draw
                    kinds[type(module)] = _is_gated_silu(module)
            if kinds[type(module)]:
                self._gated.append((module, _Gated(module)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run them natively; restored on exit."""
        pairs = [(module, gated) for module, gated in self._gated if "forward" not in module.__dict__]
        rotary = [(rotation, getattr(rotation.module, ROTARY)) for rotation in self._rotations]
        with self._norms.applied():
            try:
                for module, gated in pairs:
                    module.forward = gated
                for rotation in self._rotations:
                    setattr(rotation.module, ROTARY, rotation)
                yield
            finally:
                for module, _ in pairs:
                    module.__dict__.pop("forward", None)
                for rotation, before in rotary:
                    setattr(rotation.module, ROTARY, before)


def _is_plain(*tensors: torch.Tensor) -> bool:
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def _rms_norm(hidden: torch.Tensor, shape: torch.Size, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`torch.nn.functional.rms_norm`."""
    if not _is_plain(hidden, weight):
        return nn.functional.rms_norm(hidden, shape, weight, epsilon)
    return torch.ops.rethink.rms_norm(hidden, weight, epsilon)


class _Rotation:
    """A replacement for the `apply_rotary_pos_emb` of a model's file."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.original: Callable[..., Any] = getattr(module, ROTARY)

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *rest: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fits = not rest and not options and not torch.is_grad_enabled() and _is_plain(q, k, cos, sin)
        if not fits or not _is_one_sequence(q, k, cos, sin):
            return self.original(q, k, cos, sin, *rest, **options)
        return torch.ops.rethink.rotate(q, k, cos, sin)


def _is_one_sequence(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> bool:
    """Whether `q` and `k` are (1, heads, tokens, dim), and `cos` and `sin` (1, tokens, dim)."""
    alike = q.dim() == k.dim() == 4 and len(q) == len(k) == 1 and q.shape[2:] == k.shape[2:]
    return alike and cos.shape == sin.shape == (1, *q.shape[2:])


class _Gated:
    """A replacement for the `forward` of a feed-forward layer that computes down(silu(gate(x)) * up(x))."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self.forward: Callable[[Any, torch.Tensor], torch.Tensor] = type(module).forward

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        module = self.module
        if not _is_plain(hidden) or torch.is_autocast_enabled("cpu"):
            return self.forward(module, hidden)
        gate, up = module.gate_proj(hidden), module.up_proj(hidden)
        if not _is_plain(gate, up):
            return module.down_proj(module.act_fn(gate) * up)
        return module.down_proj(torch.ops.rethink.silu_multiply(gate, up))


def rotary_files(model: nn.Module) -> list[ModuleType]:
    """The files of `model`'s layers whose rotary embedding is the usual one, by halves."""
    files = {type(module).__module__ for module in model.modules()}
    modules = [sys.modules[file] for file in sorted(files) if hasattr(sys.modules.get(file), ROTARY)]
    return [module for module in modules if _rotates_halves(getattr(module, ROTARY))]


def _rotates_halves(function: Callable[..., Any]) -> bool:
    numbers = torch.sin(torch.arange(96.0))  # not drawn, which would advance a random generator and change later draws
    query, key = numbers[:48].view(1, 3, 2, 8), numbers[48:64].view(1, 1, 2, 8)
    cos, sin = numbers[64:80].view(1, 2, 8), numbers[80:].view(1, 2, 8)
    try:
        own = function(query, key, cos, sin)
    except Exception:  # of another signature, or for other shapes
        return False
    return all(map(_same, own, torch.ops.rethink.rotate(query, key, cos, sin)))


def _is_gated_silu(module: Any) -> bool:
    """Whether the `forward` of `module` is down(silu(gate(x)) * up(x)), tried without its weights."""
    stand_in = SimpleNamespace(
        gate_proj=lambda hidden: hidden + 1, up_proj=lambda hidden: 2 - hidden, down_proj=lambda hidden: hidden * 3
    )
    stand_in.act_fn = module.act_fn
    hidden = torch.linspace(-4, 4, 16).view(1, 2, 8)
    try:
        own = type(module).forward(stand_in, hidden)
    except Exception:  # it uses more of itself than that
        return False
    return _same(own, 3 * torch.ops.rethink.silu_multiply(hidden + 1, 2 - hidden))


def _same(one: Any, other: torch.Tensor) -> bool:
    return isinstance(one, torch.Tensor) and one.shape == other.shape and torch.allclose(one, other, _CLOSE, _CLOSE)
