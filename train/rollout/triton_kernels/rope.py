"""What stands between the product for queries, keys and values and attention, as one kernel.

Norms of the single heads where a family has them, the rotary embedding (by halves), and the keys and values written to
their page. Queries are left where they are, in the product's own output.
"""

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded


@triton.jit
def _head_tile(source, norm_weight, cos, sin, epsilon, offset, place, inside, half_inside, DIM: tl.constexpr,
               HALF: tl.constexpr, NORMS: tl.constexpr, ROTATES: tl.constexpr, dtype: tl.constexpr):  # fmt: skip
    """The two halves (heads, dim / 2) of some heads at `source`, normed and rotated."""
    first = tl.load(source + place, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + place + HALF, mask=inside, other=0.0).to(tl.float32)
    at = tl.arange(0, first.shape[1])
    if NORMS:
        scale = 1.0 / tl.sqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / DIM + epsilon)
        own = tl.load(norm_weight + at, mask=half_inside, other=0.0).to(tl.float32) + offset
        other = tl.load(norm_weight + HALF + at, mask=half_inside, other=0.0).to(tl.float32) + offset
        first = (first * scale[:, None] * own[None, :]).to(dtype).to(tl.float32)
        second = (second * scale[:, None] * other[None, :]).to(dtype).to(tl.float32)
    if ROTATES:
        cos_1 = tl.load(cos + at, mask=half_inside, other=0.0)[None, :]
        cos_2 = tl.load(cos + HALF + at, mask=half_inside, other=0.0)[None, :]
        sin_1 = tl.load(sin + at, mask=half_inside, other=0.0)[None, :]
        sin_2 = tl.load(sin + HALF + at, mask=half_inside, other=0.0)[None, :]
        rotated = first * cos_1 - second * sin_1
        second = second * cos_2 + first * sin_2
        first = rotated
    return first, second


@triton.jit
def rope_write_kernel(
    projected,
    query_norm,
    key_norm,
    cos,
    sin,
    positions,
    slots,
    keys,
    values,
    epsilon,
    offset,
    row_stride,
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    KEY_HEAD_BLOCK: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    NORMS: tl.constexpr,
    ROTATES: tl.constexpr,
):
    """Programs (row, 0) do the queries of a row, programs (row, 1) its keys and values."""
    row = tl.program_id(0).to(tl.int64)
    half: tl.constexpr = DIM // 2
    at = tl.arange(0, HALF_BLOCK)
    half_inside = at < half
    position = tl.load(positions + row)
    own_cos, own_sin = cos + position * DIM, sin + position * DIM
    source = projected + row * row_stride
    dtype: tl.constexpr = projected.dtype.element_ty
    if tl.program_id(1) == 0:
        heads = tl.arange(0, HEAD_BLOCK)[:, None]
        place, inside = heads * DIM + at[None, :], (heads < HEADS) & half_inside[None, :]
        first, second = _head_tile(source, query_norm, own_cos, own_sin, epsilon, offset, place, inside, half_inside,
                                   DIM, half, NORMS, ROTATES, dtype)  # fmt: skip
        tl.store(source + place, first.to(dtype), mask=inside)
        tl.store(source + place + half, second.to(dtype), mask=inside)
    else:
        key_heads = tl.arange(0, KEY_HEAD_BLOCK)[:, None]
        key_place, key_inside = key_heads * DIM + at[None, :], (key_heads < KEY_HEADS) & half_inside[None, :]
        key_first, key_second = _head_tile(source + HEADS * DIM, key_norm, own_cos, own_sin, epsilon, offset, key_place,
                                           key_inside, half_inside, DIM, half, NORMS, ROTATES, dtype)  # fmt: skip
        target = tl.load(slots + row) * KEY_HEADS * DIM
        tl.store(keys + target + key_place, key_first.to(dtype).to(keys.dtype.element_ty), mask=key_inside)
        tl.store(keys + target + key_place + half, key_second.to(dtype).to(keys.dtype.element_ty), mask=key_inside)
        whole = tl.arange(0, DIM_BLOCK)[None, :]
        value_place, value_inside = key_heads * DIM + whole, (key_heads < KEY_HEADS) & (whole < DIM)
        value = tl.load(source + (HEADS + KEY_HEADS) * DIM + value_place, mask=value_inside, other=0.0)
        tl.store(values + target + value_place, value.to(values.dtype.element_ty), mask=value_inside)


def rope_write(
    projected: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: int,
    *,
    table: tuple[torch.Tensor, torch.Tensor] | None,
    norms: tuple[torch.Tensor, torch.Tensor] | None = None,
    epsilon: float = 0.0,
    offset: float = 0.0,
) -> torch.Tensor:
    """Norm and rotate the queries and keys in `projected` and store keys and values; the queries (tokens, heads, dim).

    `projected` (tokens, (heads + 2 key heads) * dim) is overwritten. `slots` (tokens,) are places in `keys` and
    `values` (pages, page tokens, key heads, dim). `table` holds cosines and sines (positions, dim) in float32, None
    for layers without positions; `norms` the weights of query and key norms.
    """
    tokens = len(projected)
    key_heads, dim = keys.shape[2:]
    cos, sin = (projected, projected) if table is None else table
    query_norm, key_norm = (projected, projected) if norms is None else norms
    rope_write_kernel[(tokens, 2)](
        projected,
        query_norm,
        key_norm,
        cos,
        sin,
        positions,
        slots,
        keys,
        values,
        epsilon,
        offset,
        projected.stride(0),
        HEADS=heads,
        KEY_HEADS=key_heads,
        DIM=dim,
        HEAD_BLOCK=padded(heads),
        KEY_HEAD_BLOCK=padded(key_heads),
        HALF_BLOCK=padded(dim // 2),
        DIM_BLOCK=padded(dim),
        NORMS=norms is not None,
        ROTATES=table is not None,
        num_warps=4,
    )
    return projected[:, : heads * dim].view(tokens, heads, dim)
