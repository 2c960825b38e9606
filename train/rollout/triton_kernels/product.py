"""A matrix product whose result for a row does not depend on how many rows there are.

cuBLAS chooses another algorithm, and another order of addition, for another number of rows. Here one tile and one order
serve all sizes. It is an option: slower than cuBLAS, and only asked for where rollouts are to repeat bit for bit.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(
    inputs,
    weight,
    bias,
    output,
    rows,
    outs,
    DEPTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUTS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """Program (tile of rows, tile of outputs)."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    out = tl.program_id(1) * BLOCK_OUTS + tl.arange(0, BLOCK_OUTS)
    total = tl.zeros([BLOCK_ROWS, BLOCK_OUTS], tl.float32)
    for start in range(0, DEPTH, BLOCK_DEPTH):
        depth = start + tl.arange(0, BLOCK_DEPTH)
        left = tl.load(
            inputs + row.to(tl.int64)[:, None] * DEPTH + depth[None, :],
            mask=(row < rows)[:, None] & (depth < DEPTH)[None, :],
            other=0.0,
        )
        right = tl.load(
            weight + out.to(tl.int64)[None, :] * DEPTH + depth[:, None],
            mask=(out < outs)[None, :] & (depth < DEPTH)[:, None],
            other=0.0,
        )
        total = tl.dot(left, right, total, input_precision="ieee")
    if HAS_BIAS:
        total += tl.load(bias + out, mask=out < outs, other=0.0).to(tl.float32)[None, :]
    place = row.to(tl.int64)[:, None] * outs + out[None, :]
    tl.store(output + place, total.to(output.dtype.element_ty), mask=(row < rows)[:, None] & (out < outs)[None, :])


def invariant_linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`functional.linear` of `inputs` (rows, in) with `weight` (out, in): (rows, out)."""
    rows, depth = inputs.shape
    outs = weight.shape[0]
    output = torch.empty(rows, outs, dtype=inputs.dtype, device=inputs.device)
    half = inputs.dtype.itemsize == 2
    tile = {"BLOCK_ROWS": 64, "BLOCK_OUTS": 64, "BLOCK_DEPTH": 64 if half else 32}
    product_kernel[(-(-rows // 64), -(-outs // 64))](
        inputs.contiguous(),
        weight,
        weight if bias is None else bias,
        output,
        rows,
        outs,
        DEPTH=depth,
        HAS_BIAS=bias is not None,
        num_warps=4,
        **tile,
    )
    return output
