"""Attention of one query a row over pages of keys and values: split over the keys, then combined.

Queries that share a key head are one tile of a product. A row's keys are cut at fixed places (`split_tokens`), whatever
else is in the batch, so that a row's result depends on nothing but the row. What has never been written is not read.
"""

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded

_LEAST_GROUP = 16  # rows of the smallest tile that tensor cores multiply


@triton.jit
def decode_kernel(
    queries,
    keys,
    values,
    table,
    lengths,
    sinks,
    output,
    partial,
    log_sums,
    scaling,
    softcap,
    query_stride,
    table_stride,
    splits,
    KEY_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    KEY_DIM: tl.constexpr,
    KEY_BLOCK: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    WINDOW: tl.constexpr,
    SPLIT_TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
):
    """Program (row, key head, split): the tokens of one split. WHOLE where there is but one."""
    row = tl.program_id(0).to(tl.int64)
    key_head = tl.program_id(1)
    split = tl.program_id(2)
    length = tl.load(lengths + row)
    first = tl.maximum(length - WINDOW, 0) if WINDOW else 0
    begin = tl.maximum(split * SPLIT_TOKENS, first // BLOCK * BLOCK)
    end = length if WHOLE else tl.minimum((split + 1) * SPLIT_TOKENS, length)
    if begin < end:
        member = tl.arange(0, GROUP_BLOCK)
        key_at, value_at = tl.arange(0, KEY_BLOCK), tl.arange(0, VALUE_BLOCK)
        head = key_head * GROUP + member
        query = tl.load(
            queries + row * query_stride + head[:, None] * KEY_DIM + key_at[None, :],
            mask=(member < GROUP)[:, None] & (key_at < KEY_DIM)[None, :],
            other=0.0,
        )  # (group, key dim)
        top = tl.full([GROUP_BLOCK], float("-inf"), tl.float32)
        total = tl.zeros([GROUP_BLOCK], tl.float32)
        mixed = tl.zeros([GROUP_BLOCK, VALUE_BLOCK], tl.float32)
        for start in range(begin, end, BLOCK):
            token = start + tl.arange(0, BLOCK)
            seen = (token < end) & (token >= first)
            page = tl.load(table + row * table_stride + token // PAGE, mask=seen, other=0).to(tl.int64)
            slot = (page * PAGE + token % PAGE) * KEY_HEADS + key_head
            key = tl.load(
                keys + slot[None, :] * KEY_DIM + key_at[:, None],
                mask=seen[None, :] & (key_at < KEY_DIM)[:, None],
                other=0.0,
            )  # (key dim, tokens)
            score = tl.dot(query, key, input_precision="ieee") * scaling
            if SOFTCAP:  # cap * tanh(score / cap)
                score = softcap * (2.0 / (1.0 + tl.exp(-2.0 * score / softcap)) - 1.0)
            score = tl.where(seen[None, :], score, float("-inf"))
            higher = tl.maximum(top, tl.max(score, 1))
            weight = tl.exp(score - higher[:, None])
            kept = tl.exp(top - higher)
            total = total * kept + tl.sum(weight, 1)
            value = tl.load(
                values + slot[:, None] * VALUE_DIM + value_at[None, :],
                mask=seen[:, None] & (value_at < VALUE_DIM)[None, :],
                other=0.0,
            )  # (tokens, value dim)
            mixed = mixed * kept[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
            top = higher
        inside = (member < GROUP)[:, None] & (value_at < VALUE_DIM)[None, :]
        place = row * KEY_HEADS * GROUP + head
        if WHOLE:
            if SINKS:
                sink = tl.load(sinks + head, mask=member < GROUP, other=0.0).to(tl.float32)
                higher = tl.maximum(top, sink)
                kept = tl.exp(top - higher)
                total = total * kept + tl.exp(sink - higher)
                mixed = mixed * kept[:, None]
            mixed = mixed / total[:, None]
            at = place[:, None] * VALUE_DIM + value_at[None, :]
            tl.store(output + at, mixed.to(output.dtype.element_ty), mask=inside)
        else:
            at = (place * splits + split)[:, None] * VALUE_DIM + value_at[None, :]
            tl.store(partial + at, mixed / total[:, None], mask=inside)
            tl.store(log_sums + place * splits + split, top + tl.log(total), mask=member < GROUP)


@triton.jit
def combine_kernel(
    partial,
    log_sums,
    lengths,
    sinks,
    output,
    splits,
    HEADS: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_BLOCK: tl.constexpr,
    WINDOW: tl.constexpr,
    SPLIT_TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
    SINKS: tl.constexpr,
):
    """Program (row, head): one softmax over the splits that the row has."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    length = tl.load(lengths + row)
    first = tl.maximum(length - WINDOW, 0) // BLOCK * BLOCK if WINDOW else 0
    at = tl.arange(0, VALUE_BLOCK)
    place = row * HEADS + head
    if SINKS:
        top = tl.load(sinks + head).to(tl.float32)
        total = 1.0
    else:
        top = float("-inf")
        total = 0.0
    mixed = tl.zeros([VALUE_BLOCK], tl.float32)
    for split in range(first // SPLIT_TOKENS, (length + SPLIT_TOKENS - 1) // SPLIT_TOKENS):
        log_sum = tl.load(log_sums + place * splits + split)
        part = tl.load(partial + (place * splits + split) * VALUE_DIM + at, mask=at < VALUE_DIM, other=0.0)
        higher = tl.maximum(top, log_sum)
        kept, weight = tl.exp(top - higher), tl.exp(log_sum - higher)
        total = total * kept + weight
        mixed = mixed * kept + part * weight
        top = higher
    result = (mixed / total).to(output.dtype.element_ty)
    tl.store(output + place * VALUE_DIM + at, result, mask=at < VALUE_DIM)


def decode_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scaling: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    split_tokens: int = 512,
) -> torch.Tensor:
    """Attention of `queries` (rows, heads, dim) over the first `lengths` (rows,) tokens of each row.

    `keys` and `values` are (pages, page tokens, key heads, dim), contiguous; `table` (rows, pages) int32 names a row's
    pages in order. A query is at its row's last token and sees `window` tokens, itself among them. `softcap` bounds
    scores (Gemma 2), `sinks` (heads,) are logits that take weight and give no value (gpt-oss). `split_tokens` is a
    multiple of 64. Returns (rows, heads, value dim) in the type of `queries`.
    """
    rows, heads, key_dim = queries.shape
    page_tokens, key_heads, value_dim = values.shape[1:]
    splits = max(1, -(-table.shape[1] * page_tokens // split_tokens))
    output = torch.empty(rows, heads, value_dim, dtype=queries.dtype, device=queries.device)
    partial = log_sums = output
    if splits > 1:
        partial = torch.empty(rows, heads, splits, value_dim, dtype=torch.float32, device=queries.device)
        log_sums = torch.empty(rows, heads, splits, dtype=torch.float32, device=queries.device)
    block = key_tokens(max(key_dim, value_dim), queries.dtype)
    decode_kernel[(rows, key_heads, splits)](
        queries,
        keys,
        values,
        table,
        lengths,
        output if sinks is None else sinks,
        output,
        partial,
        log_sums,
        scaling,
        softcap or 0.0,
        queries.stride(0),
        table.stride(0),
        splits,
        KEY_HEADS=key_heads,
        GROUP=heads // key_heads,
        GROUP_BLOCK=max(_LEAST_GROUP, padded(heads // key_heads)),
        KEY_DIM=key_dim,
        KEY_BLOCK=max(16, padded(key_dim)),
        VALUE_DIM=value_dim,
        VALUE_BLOCK=max(16, padded(value_dim)),
        PAGE=page_tokens,
        WINDOW=window or 0,
        SPLIT_TOKENS=split_tokens,
        BLOCK=block,
        WHOLE=splits == 1,
        SOFTCAP=softcap is not None,
        SINKS=sinks is not None,
        num_warps=warps(queries.dtype),
    )
    if splits > 1:
        combine_kernel[(rows, heads)](
            partial,
            log_sums,
            lengths,
            output if sinks is None else sinks,
            output,
            splits,
            HEADS=heads,
            VALUE_DIM=value_dim,
            VALUE_BLOCK=padded(value_dim),
            WINDOW=window or 0,
            SPLIT_TOKENS=split_tokens,
            BLOCK=block,
            SINKS=sinks is not None,
            num_warps=1,
        )
    return output


def key_tokens(dim: int, dtype: torch.dtype) -> int:
    """Tokens of a tile of keys: fewer where one takes more room."""
    return max(16, min(64, 16384 // (padded(dim) * dtype.itemsize)))


def warps(dtype: torch.dtype) -> int:
    """Warps of a program. In float32, which tensor cores do not multiply, 4 spill 972 bytes on sm_90, 128 wide."""
    return 8 if dtype == torch.float32 else 4


def split_tokens(programs: int) -> int:
    """Keys of one split where a batch has `programs` pairs of row and key head: few of them leave a GPU idle."""
    if programs >= 256:
        return 1024
    return 256 if programs >= 32 else 128
