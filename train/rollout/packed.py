"""Weights in the order in which the processor multiplies fastest, for as long as one call lasts.

MKL lays out a weight anew in every product, which at the few dozen rows of a decode step costs as much as the product
itself. oneDNN can be given the weight laid out once. Packing all of SmolLM2-135M takes a tenth of a second and, while
the call lasts, memory for a second copy of its linear weights; its products then take 0.35 to 0.7 of the time (8 to
250 rows, float32). They round otherwise than MKL's in the last bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_SMALLEST = 1 << 16  # elements: below, the call costs more than the layout wins
_ROWS = 64  # for which oneDNN chooses the layout: about as good from 8 rows to 250


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Run the linear layers of `model` on packed copies of their weights; their own `forward` is back on the way out.

    Taken are float32 weights on a CPU with oneDNN, outside autocast, of plain `nn.Linear`s that nothing else has
    patched: the layers under LoRA are, their small adapters are not. The copies do not follow a change of the weights.
    """
    taken = []
    copies: dict[int, torch.Tensor] = {}
    try:
        for module in _packable(model):
            weight = module.weight.detach()
            if weight.data_ptr() not in copies:
                copies[weight.data_ptr()] = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
            module.forward = _Product(copies[weight.data_ptr()], module.bias)  # type: ignore[method-assign]
            taken.append(module)
        yield
    finally:
        for module in taken:
            del module.forward


def packed_bytes(model: nn.Module) -> int:
    """Bytes that the packed copies take; shared weights have one."""
    weights = {module.weight.data_ptr(): module.weight for module in _packable(model)}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


class _Product:
    """What stands in for the `forward` of a linear layer."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def _packable(model: nn.Module) -> Iterator[nn.Linear]:
    return (module for module in model.modules() if isinstance(module, nn.Linear) and _can_be_packed(module))


def _can_be_packed(module: nn.Linear) -> bool:
    return (
        type(module) is nn.Linear
        and "forward" not in module.__dict__
        and type(module.weight) is nn.Parameter  # a sharded one is of another type
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and module.weight.numel() >= _SMALLEST
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    )
