"""Kernels of a decode step in Triton, one a file: what a small model needs beside its matrix products.

They run on CUDA from Ampere on, and, one program at a time, in Triton's interpreter: `TRITON_INTERPRET=1`, set before
this package is imported, which is how the tests run them without a GPU. The interpreter keeps bfloat16 as integers and
gets its arithmetic wrong; float16 and float32 are right. Nothing in here imports transformers.
"""

import importlib.util
import os

import torch


def runnable(device: torch.device) -> bool:
    """Whether the kernels run on `device`."""
    if importlib.util.find_spec("triton") is None:
        return False
    if device.type == "cuda":
        return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    return interpreted()


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def padded(count: int) -> int:
    """The smallest power of two that is not less than `count`: the shape of a Triton block."""
    return 1 << max(0, count - 1).bit_length()
