"""GPUs with the figures of their data sheets, and the share of those figures that real work reaches.

Sources: NVIDIA's data sheets for the GPUs (products dense, without sparsity; NVLink counted one way). The shares are
assumptions, named here so that they can be argued with; where one comes from a measurement, it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from train.plan.counting import AGAIN, Work, bytes_read
from train.rollout.dense.pool import LayerShape

GIB = 2**30

# On an H100 (HBM3) a bf16 product of 8192^3 ran at 798 of 989 TFLOP/s, 0.81, and a copy at 3.0 of 3.35 TB/s, 0.90.
# The products of small models are smaller and the accesses of real kernels less even.
PRODUCT_SHARE = 0.60
BANDWIDTH_SHARE = 0.75
ATTENTION_SHARE = 0.35  # of the products' peak: attention with a mask, as padding needs it, is no flash attention

# Seconds that the host takes for one call of an eager forward or backward of transformers, and the gap between two
# kernels in a replayed CUDA graph.
EAGER_CALL = 8e-6
GRAPH_CALL = 2e-6

# Taken before the first tensor: CUDA's context and the kernels of torch, cuBLAS and NCCL.
CONTEXT = 0.8 * GIB
# What torch's allocator holds beyond the tensors alive, from rounding and fragments.
ALLOCATOR_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU. `link` is the bandwidth to each neighbour in the node and `network` that out of it, bytes/s."""

    name: str
    memory: float
    bf16: float  # FLOP/s of tensor cores
    fp32: float  # FLOP/s outside of them, as torch multiplies float32 by default
    bandwidth: float  # bytes/s of its memory
    link: float
    network: float
    is_gpu: bool = True

    def seconds(self, work: Work, *, captured: bool = False) -> float:
        """How long `work` takes, replayed from a CUDA graph where `captured`, else launched call by call."""
        device = sum(count * self._product(*product) for product, count in work.products.items())
        device += work.attention_flops / (self.bf16 * ATTENTION_SHARE)
        device += sum(work.moved.values()) / (self.bandwidth * BANDWIDTH_SHARE)
        if captured:
            return device + work.calls * GRAPH_CALL
        return max(device, work.calls * EAGER_CALL)  # the host runs ahead of the device, or the device waits for it

    def read_seconds(self, count: float) -> float:
        """How long it takes to read `count` bytes of memory."""
        return count / (self.bandwidth * BANDWIDTH_SHARE)

    def cache_seconds(
        self, layers: Sequence[LayerShape], rows: np.ndarray, cached: np.ndarray, again: np.ndarray
    ) -> np.ndarray:
        """Seconds of attention over the cache in the steps of a `Schedule`, (steps,) each."""
        return self.read_seconds(1) * bytes_read(layers, rows, cached + AGAIN * again)

    def _product(self, rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
        peak = self.bf16 if dtype.itemsize == 2 else self.fp32
        traffic = (rows * inner + inner * columns + rows * columns) * dtype.itemsize
        return max(2 * rows * inner * columns / (peak * PRODUCT_SHARE), self.read_seconds(traffic))


_NVLINK_3, _NVLINK_4, _PCIE_4 = 300e9, 450e9, 25e9
_INFINIBAND_200, _INFINIBAND_400, _ETHERNET_100 = 25e9, 50e9, 12.5e9

GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A10G", 24e9, 70e12, 31.2e12, 600e9, _PCIE_4, _ETHERNET_100),
        Gpu("RTX4090", 24e9, 165e12, 82.6e12, 1008e9, _PCIE_4, _ETHERNET_100),
        Gpu("L40S", 48e9, 362e12, 91.6e12, 864e9, _PCIE_4, _ETHERNET_100),
        Gpu("A100-40GB", 40 * GIB, 312e12, 19.5e12, 1555e9, _NVLINK_3, _INFINIBAND_200),
        Gpu("A100", 80 * GIB, 312e12, 19.5e12, 2039e9, _NVLINK_3, _INFINIBAND_200),
        Gpu("H100", 80 * GIB, 989e12, 67e12, 3350e9, _NVLINK_4, _INFINIBAND_400),
        Gpu("H200", 141e9, 989e12, 67e12, 4800e9, _NVLINK_4, _INFINIBAND_400),
    )
}
BY_SIZE = {"24GB": "A10G", "40GB": "A100-40GB", "48GB": "L40S", "80GB": "A100", "141GB": "H200"}


def find_gpu(name: str) -> Gpu:
    """The GPU called `name`, or the slowest in the table that has so much memory. Raises ValueError."""
    by_name = {label.lower(): gpu for label, gpu in GPUS.items()}
    key = BY_SIZE.get(name.upper().replace("GIB", "GB"), name).lower()
    if key not in by_name:
        raise ValueError(f"--gpu is {name!r}; expected cpu, one of {', '.join(GPUS)}, or a size: {', '.join(BY_SIZE)}.")
    gpu = by_name[key]
    return gpu if key == name.lower() else replace(gpu, name=f"{name} (as {gpu.name})")
