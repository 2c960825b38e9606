"""Running code on fake tensors, and counting: bytes alive, products, bytes moved, calls.

Nothing is computed and no memory taken. What is counted falls into sections that `Trace.begin` opens, so that the
cost of one layer is known apart from the rest, and that of a deep model follows from a shallow one.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from train.rollout.dense.pool import LayerShape

# (rows, inner, columns, dtype) of one matrix product.
Product = tuple[int, int, int, torch.dtype]

# Element by element, but through a series or a table rather than one instruction.
_TRANSCENDENTAL = {
    getattr(torch.ops.aten, name)
    for name in ("exp", "exp_", "silu", "silu_backward", "gelu", "gelu_backward", "tanh", "sin", "cos")
}
_PRODUCTS = {torch.ops.aten.mm: 0, torch.ops.aten.addmm: 1, torch.ops.aten.addmm_: 1}  # where the left factor stands
_ATTENTION: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
# These read of their first argument only what they give.
_PICKING = {torch.ops.aten.embedding, torch.ops.aten.index_select, torch.ops.aten.gather, torch.ops.aten.index}
_ASKING = {torch.ops.prim.device, torch.ops.aten.is_same_size}  # no work at all


@dataclass(slots=True)
class Work:
    """The operations of some code. `moved` counts bytes outside products, by the largest tensor of a call."""

    products: Counter[Product] = field(default_factory=Counter)
    attention_flops: float = 0.0
    moved: Counter[tuple[int, bool]] = field(default_factory=Counter)  # (size, transcendental) -> bytes
    product_bytes: float = 0.0
    calls: int = 0

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return sum(2.0 * m * k * n * count for (m, k, n, _), count in self.products.items()) + self.attention_flops

    @property
    def bytes(self) -> float:
        """Bytes read and written, products included."""
        return self.product_bytes + sum(self.moved.values())

    def __add__(self, other: "Work") -> "Work":
        return self.plus(other, 1)

    def plus(self, other: "Work", times: int) -> "Work":
        """This work and `other`, done `times` times."""
        products, moved = self.products.copy(), self.moved.copy()
        for key, count in other.products.items():
            products[key] += count * times
        for size, count in other.moved.items():
            moved[size] += count * times
        return Work(
            products,
            self.attention_flops + other.attention_flops * times,
            moved,
            self.product_bytes + other.product_bytes * times,
            self.calls + other.calls * times,
        )


@dataclass(slots=True)
class Section:
    """A stretch of a trace: bytes alive where it began, the most alive within it, and its work."""

    start: int
    peak: int
    work: Work = field(default_factory=Work)


class Trace(TorchDispatchMode):
    """Counts while it is entered. Tensors made before count where they are handed to `hold`."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.sections: dict[str, Section] = {}
        self._storages: dict[int, int] = {}
        self.begin("start")

    def begin(self, name: str) -> None:
        """Open a section; what follows belongs to it."""
        self._section = self.sections[name] = Section(self.alive, self.alive)

    @property
    def work(self) -> Work:
        """The work of the open section."""
        return self._section.work

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count the storages of `tensors` as alive."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._storages:
                self._storages[key] = storage.nbytes()
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._freed, key)
        self._section.peak = max(self._section.peak, self.alive)

    def _freed(self, key: int) -> None:
        self.alive -= self._storages.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outputs = [value for value in tree_iter(result) if isinstance(value, torch.Tensor)]
        inputs = [value for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)]
        self.hold(outputs)
        if func._overloadpacket not in _ASKING:
            _count(self._section.work, func, args, kwargs, inputs, outputs)
        return result


def _count(
    work: Work, func: Any, args: Any, kwargs: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]
) -> None:
    work.calls += 1
    packet = func._overloadpacket
    sizes = {value.untyped_storage()._cdata: value.numel() * value.element_size() for value in (*inputs, *outputs)}
    if packet in _PRODUCTS:
        left, right = args[_PRODUCTS[packet] :][:2]
        work.products[(left.shape[0], left.shape[1], right.shape[1], left.dtype)] += 1
        work.product_bytes += sum(sizes.values())
    elif packet in _ATTENTION:
        shapes = [value.shape for value in args[:4] if isinstance(value, torch.Tensor)]
        work.attention_flops += _ATTENTION[packet](*shapes)
        work.product_bytes += sum(sizes.values())
    elif packet in flop_registry:  # batched products
        work.attention_flops += flop_registry[packet](*args, **kwargs, out_val=outputs[0])
        work.product_bytes += sum(sizes.values())
    elif packet in _PICKING:
        output_bytes = sum(value.numel() * value.element_size() for value in outputs)
        work.moved[(output_bytes, False)] += 2 * output_bytes
    elif func._schema.is_mutable or not _is_view(inputs, outputs):
        work.moved[(max(sizes.values(), default=0), packet in _TRANSCENDENTAL)] += sum(sizes.values())


def _is_view(inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
    """Whether every output is only a view of an input."""
    storages = {value.untyped_storage()._cdata for value in inputs}
    return bool(outputs) and all(value.untyped_storage()._cdata in storages for value in outputs)


# What reading a shared prompt for one more row takes, in terms of reading it from memory: it is in the processor's own
# cache by then. Measured on a Xeon with 2 MiB a core (64 rows in 4 and 8 groups, prompts of 1,024 tokens, SmolLM2's
# shapes: 0.34 and 0.35); of a GPU assumed.
AGAIN = 0.35


def bytes_read(layers: Sequence[LayerShape], rows: np.ndarray, cached: np.ndarray) -> np.ndarray:
    """Bytes of the cache that steps of `rows` rows with `cached` tokens read, windows taken into account, (steps,)."""
    total = np.zeros(len(rows))
    for layer in layers:
        tokens = cached if layer.window is None else np.minimum(cached, rows * layer.window)
        total += tokens * layer.bytes_per_token
    return total
