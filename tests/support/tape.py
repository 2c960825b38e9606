"""A CUDA graph's semantics on a CPU: the kernels of a step with the tensors they touched, run again without Python.

What a step computed in Python - a branch, a number read from a tensor, a tensor made anew from host data - is frozen in
the tape exactly as in a graph, and what it left out of its buffers goes stale in the same way.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Tape(TorchDispatchMode):
    """Records operators; `replay` runs them again on the same storage."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, output in self._calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_flatten(output)[0], tree_flatten(again)[0], strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def record(step: Callable[[], None], neighbour: Tape | None) -> Tape:
    """Stands in for `CudaCapture`: two steps to warm up, and one that is recorded and undone by being padding."""
    step()
    step()
    tape = Tape()
    with tape:
        step()
    return tape
