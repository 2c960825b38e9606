"""How many blocks the pool may have."""

import psutil  # type: ignore[import-untyped]
import torch

_GIB = 2**30
_SHARE_OF_FREE = 0.5  # the rest is for logits, activations and the optimiser step that follows


def block_limit(block_bytes: int, cache_gib: float | None, device: torch.device) -> int:
    """Blocks of `block_bytes` that fit in `cache_gib`, or in half of the memory that is free now where it is None."""
    if cache_gib is not None:
        budget = cache_gib * _GIB
    elif device.type == "cuda":
        budget = _SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]
    else:
        budget = _SHARE_OF_FREE * psutil.virtual_memory().available
    return int(budget // block_bytes)
