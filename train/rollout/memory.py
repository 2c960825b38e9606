"""How much memory the engine may hold, and how freed memory is reused or returned."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from train.rollout.limits import SHARE_OF_FREE

_GIB = 2**30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MOST_FROM_HEAP = 32 * 2**20  # bytes: the most that every glibc takes
_KEPT = 256 * 2**20  # bytes at the end of the heap
_MAPPED = 2**18  # bytes of the smallest weight that is packed (packed.py)
# Bytes of packed weights from which memory is given back before a call. The next loss then faults pages in again, which
# is little beside the products of so large a model.
LARGE_PACKED = 128 * 2**20


def keep_freed_memory() -> None:
    """Have glibc's malloc keep up to 256 MiB that this process frees, and reuse it, for as long as the process lives.

    By default it hands large temporaries back to the system and faults fresh pages in for the next, in every layer of
    every step: a tenth of a step's time at 64 rows of SmolLM2-135M. Another C library is left as it is.
    """
    _glibc("mallopt", _M_MMAP_THRESHOLD, _MOST_FROM_HEAP)
    _glibc("mallopt", _M_TRIM_THRESHOLD, _KEPT)


@contextmanager
def own_mappings() -> Iterator[None]:
    """Have allocations from 256 KiB within the context return to the system as soon as they are freed. This is for
    allocations that last as long as a call, which would lift the end of the heap over holes: where no free piece of the
    heap fits, malloc maps them separately. On exit the process is as `keep_freed_memory` leaves it.
    """
    try:
        _glibc("mallopt", _M_MMAP_THRESHOLD, _MAPPED)
        yield
    finally:
        _glibc("mallopt", _M_MMAP_THRESHOLD, _MOST_FROM_HEAP)


def return_freed_memory() -> None:
    """Have malloc return its free pages to the system, including the holes that a loss has left."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL(None), function)(*arguments)
    except (AttributeError, OSError, TypeError):  # another C library
        return


def working_bytes(model: Any, rows: int, chunk_tokens: int) -> int:
    """The approximate bytes that a step of the dense path allocates for `rows` rows and `chunk_tokens` of prefill, in
    float32.

    The logits, and as much again, since what malloc has free seldom fits the next; six outputs of the widest layer,
    which is what a gated feed-forward layer and attention hold at once; a quarter for holes. SmolLM2-135M at 256 rows
    and 512 tokens of prefill: 154 MiB, where 164 were measured.
    """
    head = model.get_output_embeddings().weight  # (vocabulary, hidden size)
    inner = [module for module in model.modules() if isinstance(module, nn.Linear) and module.weight is not head]
    widest = max((max(module.in_features, module.out_features) for module in inner), default=4 * head.shape[1])
    return 4 * (2 * rows * head.shape[0] + 6 * (rows + chunk_tokens) * widest) * 5 // 4


def memory_budget(cache_gib: float | None, device: torch.device) -> int:
    """Bytes that the engine may hold: `cache_gib`, or half of the memory that is free now where it is None.

    Main memory is shared by the processes of a machine, as many as the launcher says: half is what they get together.
    """
    if cache_gib is not None:
        return int(cache_gib * _GIB)
    if device.type == "cuda":
        return int(SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0])
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    import psutil  # type: ignore[import-untyped]  # a machine that runs on CUDA alone may lack it

    return int(SHARE_OF_FREE * psutil.virtual_memory().available / processes)
