"""Residual addition and the root-mean-square norm behind it, as one kernel.

stream += delta                      (or += norm(delta) * post_weight, where a family norms a branch's output)
output  = stream / rms(stream) * (weight + offset)
"""

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded


@triton.jit
def residual_norm_kernel(
    stream,
    delta,
    post_weight,
    weight,
    output,
    epsilon,
    offset,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_DELTA: tl.constexpr,
    HAS_POST: tl.constexpr,
):
    """One program a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    hidden = tl.load(stream + row * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        change = tl.load(delta + row * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
        if HAS_POST:
            scale = tl.load(post_weight + at, mask=inside, other=0.0).to(tl.float32) + offset
            change = change * (1.0 / tl.sqrt(tl.sum(change * change, 0) / WIDTH + epsilon)) * scale
            change = change.to(delta.dtype.element_ty).to(tl.float32)
        rounded = (hidden + change).to(stream.dtype.element_ty)
        tl.store(stream + row * WIDTH + at, rounded, mask=inside)
        hidden = rounded.to(tl.float32)
    scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32) + offset
    normed = hidden * (1.0 / tl.sqrt(tl.sum(hidden * hidden, 0) / WIDTH + epsilon)) * scale
    tl.store(output + row * WIDTH + at, normed.to(output.dtype.element_ty), mask=inside)


def residual_norm(
    stream: torch.Tensor,
    delta: torch.Tensor | None,
    weight: torch.Tensor,
    epsilon: float,
    dtype: torch.dtype,
    *,
    offset: float = 0.0,
    post_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Add `delta` (rows, width) to `stream` (rows, width) in place; the norm of the sum, as `dtype` (rows, width)."""
    rows, width = stream.shape
    output = torch.empty(rows, width, dtype=dtype, device=stream.device)
    block = padded(width)
    residual_norm_kernel[(rows,)](
        stream,
        stream if delta is None else delta,
        weight if post_weight is None else post_weight,
        weight,
        output,
        epsilon,
        offset,
        WIDTH=width,
        BLOCK=block,
        HAS_DELTA=delta is not None,
        HAS_POST=post_weight is not None,
        num_warps=4 if block <= 2048 else 8,
    )
    return output
