"""Lays out weights in the order in which the processor multiplies fastest, for the time of one call.

A plain product lays out its weight anew every time, which at the few dozen rows of a decode step costs as much as the
product itself. MKL and oneDNN can be given a weight laid out once. Packing all of SmolLM2-135M takes a tenth of a
second and, while the call lasts, memory for a second copy of its linear weights. Its products took, with two threads of
a Xeon with AVX-512, in float32:

    rows           8      64     128
    plain         44 ms   87 ms  141 ms
    oneDNN        36 ms   91 ms  142 ms
    MKL           31 ms   75 ms  122 ms

and on an EPYC with AVX-512, from 8 rows to 250, oneDNN took 0.35 to 0.7 of the plain time. So Intel's processors take
MKL and others oneDNN: by a rule and not by a race, since they round differently in the last bits.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from train.rollout.memory import own_mappings

_SMALLEST = 1 << 16  # elements: below, the call costs more than the layout wins
_ROWS = 64  # for which the layout is chosen: good from 1 row to 500, and right for any number


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Run the linear layers of `model` on packed copies of their weights; their own `forward` is restored on exit.

    It packs float32 weights on a CPU with MKL or oneDNN, outside autocast, of plain `nn.Linear`s that nothing else has
    patched: layers under LoRA too, but not their small adapters. The copies do not follow a change of the weights.
    """
    layers = []
    copies: dict[int, Packed] = {}
    try:
        with own_mappings():
            for module in _packable(model):
                place = module.weight.data_ptr()
                if place not in copies:
                    copies[place] = Packed(module.weight.detach())
                module.forward = copies[place].forward(module.bias)  # type: ignore[assignment, method-assign]
                layers.append(module)
        yield
    finally:
        for module in layers:
            del module.forward


def packed_bytes(model: nn.Module) -> int:
    """Bytes that the packed copies take; shared weights have one."""
    weights = {module.weight.data_ptr(): module.weight for module in _packable(model)}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


class Packed:
    """A packed copy of `weight` (out, in)."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.mkl = _takes_mkl()
        pack = torch.ops.mkl._mkl_reorder_linear_weight if self.mkl else torch.ops.mkldnn._reorder_linear_weight
        self.weight = weight
        self.layout: torch.Tensor = pack(weight, _ROWS)

    def forward(self, bias: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """A replacement for the `forward` of a linear layer with this weight and `bias`."""
        layout, weight = self.layout, self.weight
        if not self.mkl:
            return lambda input: torch.ops.mkldnn._linear_pointwise(input, layout, bias, "none", [], "")

        def product(input: torch.Tensor) -> torch.Tensor:
            rows = input.numel() // input.shape[-1]  # the rows that it was packed for; else `weight` is used
            return torch.ops.mkl._mkl_linear(input, layout, weight, bias, rows)

        return product


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
