"""Attention of many queries a sequence over pages of keys and values: chunks of prompts, side by side in one launch."""

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded
from train.rollout.triton_kernels.decode_attention import key_tokens, warps
from train.rollout.triton_kernels.tiles import TILE


@triton.jit
def prefill_kernel(
    queries,
    keys,
    values,
    table,
    tiles,
    sinks,
    output,
    scaling,
    softcap,
    query_stride,
    table_stride,
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    KEY_DIM: tl.constexpr,
    KEY_BLOCK: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    WINDOW: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
):
    """Program (tile, head)."""
    tile = tiles + tl.program_id(0) * 4
    head = tl.program_id(1)
    sequence, count = tl.load(tile).to(tl.int64), tl.load(tile + 2)
    start_token, start_position = tl.load(tile + 1).to(tl.int64), tl.load(tile + 3)
    key_head = head // (HEADS // KEY_HEADS)
    member = tl.arange(0, QUERIES)
    key_at, value_at = tl.arange(0, KEY_BLOCK), tl.arange(0, VALUE_BLOCK)
    query = tl.load(
        queries + (start_token + member)[:, None] * query_stride + head * KEY_DIM + key_at[None, :],
        mask=(member < count)[:, None] & (key_at < KEY_DIM)[None, :],
        other=0.0,
    )
    at = start_position + member  # positions of the queries
    end = start_position + count
    begin = tl.maximum(start_position + 1 - WINDOW, 0) // BLOCK * BLOCK if WINDOW else 0
    top = tl.full([QUERIES], -1e30, tl.float32)  # finite: the first tile of a windowed query may be masked whole
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_BLOCK], tl.float32)
    for start in range(begin, end, BLOCK):
        token = start + tl.arange(0, BLOCK)
        page = tl.load(table + sequence * table_stride + token // PAGE, mask=token < end, other=0).to(tl.int64)
        slot = (page * PAGE + token % PAGE) * KEY_HEADS + key_head
        key = tl.load(
            keys + slot[None, :] * KEY_DIM + key_at[:, None],
            mask=(token < end)[None, :] & (key_at < KEY_DIM)[:, None],
            other=0.0,
        )
        score = tl.dot(query, key, input_precision="ieee") * scaling
        if SOFTCAP:
            score = softcap * (2.0 / (1.0 + tl.exp(-2.0 * score / softcap)) - 1.0)
        seen = (token[None, :] <= at[:, None]) & (token < end)[None, :]
        if WINDOW:
            seen = seen & (token[None, :] > at[:, None] - WINDOW)
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp(score - higher[:, None])
        kept = tl.exp(top - higher)
        total = total * kept + tl.sum(weight, 1)
        value = tl.load(
            values + slot[:, None] * VALUE_DIM + value_at[None, :],
            mask=(token < end)[:, None] & (value_at < VALUE_DIM)[None, :],
            other=0.0,
        )
        mixed = mixed * kept[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        top = higher
    if SINKS:
        sink = tl.load(sinks + head).to(tl.float32)
        higher = tl.maximum(top, sink)
        kept = tl.exp(top - higher)
        total = total * kept + tl.exp(sink - higher)
        mixed = mixed * kept[:, None]
    place = ((start_token + member) * HEADS + head)[:, None] * VALUE_DIM + value_at[None, :]
    inside = (member < count)[:, None] & (value_at < VALUE_DIM)[None, :]
    tl.store(output + place, (mixed / total[:, None]).to(output.dtype.element_ty), mask=inside)


def prefill_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    tiles: torch.Tensor,
    scaling: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention of `queries` (tokens, heads, dim), whose sequences `tiles` (tiles, 4) int32 describe.

    The rest is as in `decode_attention`. What a tile reads and in which order depends on positions alone, so that a
    prompt's result does not depend on the chunks in which it came.
    """
    tokens, heads, key_dim = queries.shape
    page_tokens, key_heads, value_dim = values.shape[1:]
    output = torch.empty(tokens, heads, value_dim, dtype=queries.dtype, device=queries.device)
    prefill_kernel[(len(tiles), heads)](
        queries,
        keys,
        values,
        table,
        tiles,
        output if sinks is None else sinks,
        output,
        scaling,
        softcap or 0.0,
        queries.stride(0),
        table.stride(0),
        HEADS=heads,
        KEY_HEADS=key_heads,
        KEY_DIM=key_dim,
        KEY_BLOCK=max(16, padded(key_dim)),
        VALUE_DIM=value_dim,
        VALUE_BLOCK=max(16, padded(value_dim)),
        PAGE=page_tokens,
        WINDOW=window or 0,
        QUERIES=TILE,
        BLOCK=block_tokens(max(key_dim, value_dim), queries.dtype),
        SOFTCAP=softcap is not None,
        SINKS=sinks is not None,
        num_warps=warps(queries.dtype),
    )
    return output


def block_tokens(dim: int, dtype: torch.dtype) -> int:
    """Tokens of a tile of keys. In float32 more than 16 spill up to 32 bytes, as Triton 3.6 compiles for sm_90."""
    return 16 if dtype == torch.float32 else key_tokens(dim, dtype)
