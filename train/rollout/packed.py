"""Weights in the order in which the processor multiplies fastest, for as long as one call lasts.

A plain product lays out its weight anew every time, which at the few dozen rows of a decode step costs as much as the
product itself. MKL and oneDNN can be given a weight laid out once. Packing all of SmolLM2-135M takes a tenth of a second
and, while the call lasts, memory for a second copy of its linear weights. Its products took, in ms of two threads, float32:

| rows | plain | oneDNN | MKL |
|---|---|---|---|
| Xeon with AVX-512: 8, 64, 128 | 44, 87, 143 | 36, 91, 141 | 31, 75, 122 |
| EPYC with AVX-512: 8 to 250 | 1 | 0.35 to 0.7 of plain | not tried |

so Intel's processors take MKL, others oneDNN: by a rule and not by a race, as they round differently in the last bits.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

_SMALLEST = 1 << 16  # elements: below, the call costs more than the layout wins
_ROWS = 64  # for which the layout is chosen: good from 1 row to 500, and right for any number


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Run the linear layers of `model` on packed copies of their weights; their own `forward` is back on the way out.

    Taken are float32 weights on a CPU with MKL or oneDNN, outside autocast, of plain `nn.Linear`s that nothing else has
    patched: the layers under LoRA are, their small adapters are not. The copies do not follow a change of the weights.
    """
    taken = []
    copies: dict[int, torch.Tensor] = {}
    mkl = _takes_mkl()
    pack = torch.ops.mkl._mkl_reorder_linear_weight if mkl else torch.ops.mkldnn._reorder_linear_weight
    try:
        for module in _packable(model):
            weight = module.weight.detach()
            if weight.data_ptr() not in copies:
                copies[weight.data_ptr()] = pack(weight, _ROWS)
            packed = copies[weight.data_ptr()]
            module.forward = _by_mkl(packed, weight, module.bias) if mkl else _by_onednn(packed, module.bias)
            taken.append(module)
        yield
    finally:
        for module in taken:
            del module.forward


def packed_bytes(model: nn.Module) -> int:
    """Bytes that the packed copies take; shared weights have one."""
    weights = {module.weight.data_ptr(): module.weight for module in _packable(model)}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


def _by_mkl(packed: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Callable[..., torch.Tensor]:
    """What stands in for the `forward` of a linear layer; `weight` would only be used for another number of rows."""

    def product(input: torch.Tensor) -> torch.Tensor:
        rows = input.numel() // input.shape[-1]
        return torch.ops.mkl._mkl_linear(input, packed, weight, bias, rows)

    return product


def _by_onednn(packed: torch.Tensor, bias: torch.Tensor | None) -> Callable[..., torch.Tensor]:
    """The same by oneDNN."""
    return lambda input: torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")


@functools.cache
def _takes_mkl() -> bool:
    """Whether this is an Intel processor, and torch has MKL."""
    if not torch.backends.mkl.is_available() or not hasattr(torch.ops.mkl, "_mkl_linear"):
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


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
        and (_takes_mkl() or torch.backends.mkldnn.is_available())
        and not torch.is_autocast_enabled("cpu")
    )
