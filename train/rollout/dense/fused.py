"""Root-mean-square norms as one kernel each, for as long as one call lasts.

transformers writes a norm as six operations, and at decode sizes on a GPU each costs a launch, whatever its work: the
61 norms of SmolLM2-135M took a quarter of a step (H200, bfloat16, 256 rows: 6.96 ms, and 5.34 ms with them fused). On a
CPU it is done by a kernel of our own (native/layers.py). Fused norms round once where the module rounds twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class FusedNorms:
    """The norms of `model` that `rms_norm`, by default torch's, can stand in for, found by trying one of each kind.

    What replaces a module's `forward` is made once, so that a fingerprint of the module is the same in every call.
    """

    def __init__(self, model: nn.Module, rms_norm: Callable[..., torch.Tensor] = functional.rms_norm) -> None:
        kinds: dict[type, float | None] = {}
        self._fused: list[tuple[nn.Module, _Norm]] = []
        for module in model.modules():
            kind = type(module)
            if not kind.__name__.endswith("RMSNorm") or _is_patched(module) or _epsilon(module) is None:
                continue
            if kind not in kinds:
                kinds[kind] = norm_offset(module, rms_norm)
            offset = kinds[kind]
            if offset is not None:
                self._fused.append((module, _Norm(module, offset, rms_norm)))

    def __len__(self) -> int:
        return len(self._fused)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run them fused, except those that something else has patched meanwhile; restored on exit."""
        pairs = [(module, norm) for module, norm in self._fused if not _is_patched(module)]
        try:
            for module, norm in pairs:
                module.forward = norm
            yield
        finally:
            for module, _ in pairs:
                module.__dict__.pop("forward", None)


class _Norm:
    """A replacement for the `forward` of a norm that adds `offset` to its weight."""

    def __init__(self, module: nn.Module, offset: float, rms_norm: Callable[..., torch.Tensor]) -> None:
        self.module: Any = module
        self.rms_norm = rms_norm
        self.offset = offset
        self.epsilon = _epsilon(module)
        self.forward: Callable[[Any, torch.Tensor], torch.Tensor] = type(module).forward

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = self.module.weight
        if hidden.dtype != weight.dtype:  # as under autocast, where the module decides on the output's type
            return self.forward(self.module, hidden)
        scale = weight + self.offset if self.offset else weight
        return self.rms_norm(hidden, scale.shape, scale, self.epsilon)


def _is_patched(module: nn.Module) -> bool:
    return "forward" in module.__dict__


def _epsilon(module: nn.Module) -> float | None:
    """The module's epsilon, under either of its usual names, where it has that and one weight a feature."""
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    return epsilon if isinstance(epsilon, float) and isinstance(weight, nn.Parameter) and weight.dim() == 1 else None


def norm_offset(module: nn.Module, rms_norm: Callable[..., torch.Tensor]) -> float | None:
    """0 where the norm scales by its weight, 1 where it adds one to it (Gemma), None for neither."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    hidden = torch.linspace(-3, 5, 2 * len(weight), device=weight.device).view(2, -1).to(weight.dtype)
    tolerance = 4 * torch.finfo(weight.dtype).eps
    with torch.no_grad():
        own = module(hidden)
        for offset in (0.0, 1.0):
            if torch.allclose(own, _Norm(module, offset, rms_norm)(hidden), rtol=tolerance, atol=tolerance):
                return offset
    return None
