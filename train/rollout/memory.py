"""How much memory the engine may hold, and what becomes of memory that is freed."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import torch

_GIB = 2**30
_SHARE_OF_FREE = 0.5  # the rest is for logits, activations and the optimiser step that follows
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MOST_FROM_HEAP = 32 * 2**20  # bytes: the most that every glibc takes


def keep_freed_memory() -> None:
    """Have glibc's malloc keep up to 256 MiB that this process frees, and reuse it, for as long as the process lives.

    By default it hands large temporaries back to the system and faults fresh pages in for the next, in every layer of
    every step: a tenth of a step's time at 64 rows of SmolLM2-135M. Another C library is left as it is.
    """
    _mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP)
    _mallopt(_M_TRIM_THRESHOLD, 256 * 2**20)


@contextmanager
def own_mappings() -> Iterator[None]:
    """Have what is allocated meanwhile, from 256 KiB, lie outside of the heap, and go back at once when it is freed.

    For what lasts as long as a call does: it would leave holes in the heap, among what is smaller and stays.
    """
    _mallopt(_M_MMAP_THRESHOLD, 256 * 2**10)
    try:
        yield
    finally:
        _mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP)


def return_freed_memory() -> None:
    """Have malloc give all that is free back to the system: the holes that a loss has left, before a large call."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc
        return


def _mallopt(option: int, value: int) -> None:
    try:
        ctypes.CDLL(None).mallopt(option, value)
    except (AttributeError, OSError, TypeError):  # not glibc
        return


def working_bytes(rows: int, chunk_tokens: int, hidden_size: int, vocabulary: int) -> int:
    """About what a step of `rows` rows beside a prefill chunk allocates for itself, in float32.

    Logits twice, as a first draw gathers them; activations of sixteen times the hidden size, which is what attention
    and a gated feed-forward layer hold at once; a quarter for holes. Of SmolLM2-135M at 256 rows 164 MiB were measured.
    """
    logits = 2 * rows * vocabulary
    activations = 16 * (rows + chunk_tokens) * hidden_size
    return 4 * (logits + activations) * 5 // 4


def memory_budget(cache_gib: float | None, device: torch.device) -> int:
    """Bytes that the engine may hold: `cache_gib`, or half of the memory that is free now where it is None.

    Main memory is shared by the processes of a machine, as many as the launcher says: half is what they get together.
    """
    if cache_gib is not None:
        return int(cache_gib * _GIB)
    if device.type == "cuda":
        return int(_SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0])
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return int(_SHARE_OF_FREE * psutil.virtual_memory().available / processes)
