"""Shadow weights: copies of a model's matrices laid out for decoding, refreshed from the live ones before each call.

Matrices that read the same input lie side by side and become one product. They are in the type in which products are
computed, so autocast has nothing left to cast; adapters are merged into them, so a step does not know of them; and
they never move, so CUDA graphs may point at them whatever becomes of the live weights.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class NotFusable(ValueError):
    """A model that the fused layers do not compute; the message says what stands in the way."""


@dataclass(slots=True)
class _Place:
    """Where the tensor `name` of `module` is copied to."""

    module: nn.Module
    name: str
    target: torch.Tensor


class Shadow:
    """Copies in `dtype` on `device`; `merges` says whether adapters may be merged into them."""

    def __init__(self, dtype: torch.dtype, device: torch.device, *, merges: bool = True) -> None:
        self.dtype = dtype
        self.device = device
        self.merges = merges
        self.bytes = 0
        self._plain: list[_Place] = []
        self._adapted: list[_Place] = []

    def side_by_side(self, modules: Sequence[nn.Module]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The weights (sum of outs, in) of linear `modules`, and their biases (sum of outs,) if they have any.

        Raises NotFusable for a module that is no plain linear layer, with or without plain LoRA.
        """
        bases = [self._base(module) for module in modules]
        outs = [base.out_features for base in bases]
        weight = self._empty((sum(outs), bases[0].in_features), self.dtype)
        with_bias = [base.bias is not None for base in bases]
        if any(with_bias) and not all(with_bias):
            raise NotFusable("of the layers that read one input some have a bias and some have none")
        bias = self._empty((sum(outs),), self.dtype) if all(with_bias) else None
        for module, base, target in zip(modules, bases, weight.split(outs), strict=True):
            (self._plain if module is base else self._adapted).append(_Place(module, "weight", target))
        if bias is not None:
            for base, target in zip(bases, bias.split(outs), strict=True):
                self._plain.append(_Place(base, "bias", target))
        return weight, bias

    def vector(self, module: nn.Module, name: str = "weight") -> torch.Tensor:
        """A copy of a small parameter, such as a norm's weight, in its own type."""
        refuse_hooks(module)
        parameter = getattr(module, name)
        target = self._empty(tuple(parameter.shape), parameter.dtype)
        self._plain.append(_Place(module, name, target))
        return target

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the live weights, all plain ones in one call, and merge the adapters that are active now."""
        sources = [getattr(place.module, place.name).detach() for place in self._plain]
        torch._foreach_copy_([place.target for place in self._plain], sources)
        for place in self._adapted:
            place.target.copy_(merged_weight(place.module))

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty(shape, dtype=dtype, device=self.device)
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def _base(self, module: nn.Module) -> nn.Linear:
        base: Any = module
        refuse_hooks(module)
        if is_lora(module):
            if not self.merges:
                raise NotFusable("its adapters are to stay unmerged")
            _check_mergeable(module)
            base = module.get_base_layer()  # type: ignore[operator]
        if type(base) is not nn.Linear or not base.weight.is_floating_point():
            raise NotFusable(f"a {type(base).__name__} stands where a plain linear layer is expected")
        return base


def refuse_hooks(module: nn.Module) -> None:
    """Raise NotFusable for a module with a hook, which the fused layers would never call."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise NotFusable(f"a hook watches or changes its {type(module).__name__}")


def is_lora(module: nn.Module) -> bool:
    """Whether `module` is a LoRA layer of peft, which need not be installed."""
    peft = sys.modules.get("peft.tuners.lora.layer")
    return peft is not None and isinstance(module, peft.LoraLayer)


def _check_mergeable(module: Any) -> None:
    """Raise NotFusable for an adapter that is more than scale * B A."""
    for adapter in module.active_adapters:
        if adapter in getattr(module, "lora_variant", {}) or getattr(module, "lora_bias", {}).get(adapter):
            raise NotFusable(f"its adapter {adapter!r} is not a plain LoRA (DoRA, or with a bias)")


def merged_weight(module: Any) -> torch.Tensor:
    """The weight (out, in) of a LoRA layer with its active adapters merged, in float32; the layer stays as it is."""
    weight = module.get_base_layer().weight.detach()
    if module.disable_adapters or module.merged:
        return weight
    merged = weight.float()
    for adapter in module.active_adapters:
        if adapter in module.lora_A:
            merged = merged + module.get_delta_weight(adapter).detach().float()
    return merged
