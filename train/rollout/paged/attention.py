"""Attention through a block table: torch's `varlen_attn` where flash attention runs, gathered pages elsewhere.

What torch 2.13's `varlen_attn` asks for, from its source and its tracker:
- half precision, Ampere or newer, keys and values of one width, a multiple of 8 and at most 256; pages of a multiple
  of 256 tokens; int32 tables and lengths;
- `num_splits=1`: with a block table the split kernel leaves rows unwritten (pytorch#194167) and gives NaN under the
  automatic choice (torchtitan#3235). One split also makes a row's result independent of its neighbours;
- `cu_seq_k` beside `cu_seq_q` with flash attention 2, though a block table leaves it unread; flash attention 3 and 4,
  where somebody has activated them, refuse it.
"""

import functools
import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from train.rollout.dense.attention import check_sequence
from train.rollout.dense.pool import LayerShape
from train.rollout.paged.pool import PagedPool


@dataclass(slots=True)
class Sequences:
    """What the queries of one forward read. `query_lengths` None means one query a sequence: a decode step."""

    table: torch.Tensor  # (sequences, pages) int32, in order of position
    lengths: torch.Tensor  # (sequences,) int32 tokens to read, this forward's own among them
    query_starts: torch.Tensor  # (sequences + 1,) int32
    key_starts: torch.Tensor  # (sequences + 1,) int32: bounds that no kernel reads, but that one insists on
    query_lengths: list[int] | None = None
    tiles: torch.Tensor | None = None  # (tiles, 4) of our own kernel for prompts (triton_kernels/prefill_attention.py)


class Kernel(Protocol):
    """Attention of packed queries over a pool of pages; the last query of a sequence is its newest token."""

    def __call__(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        sequences: Sequences,
        scaling: float,
        window: int | None,
        softcap: float | None = None,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`queries` (tokens, heads, dim), `keys` and `values` (pages, page tokens, key heads, dim) -> as `queries`.

        `softcap` bounds scores (Gemma 2); `sinks` (heads,) are logits that take weight and give no value (gpt-oss).
        """
        ...


def varlen_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scaling: float,
    window: int | None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `Kernel`; by flash attention, for layers that are plain."""
    assert softcap is None and sinks is None
    from torch.nn.attention import current_flash_attention_impl  # not in every torch that our own kernels run on
    from torch.nn.attention.varlen import varlen_attn

    longest = 1 if sequences.query_lengths is None else max(sequences.query_lengths)
    window_size = (-1, 0) if window is None else (window - 1, 0)  # a token sees itself and window - 1 before it
    if window is None and longest == 1:
        window_size = (-1, -1)  # the same for one query, and lets the kernel pack the heads that share a key head
    output = varlen_attn(
        queries,
        keys,
        values,
        sequences.query_starts,
        sequences.key_starts if current_flash_attention_impl() is None else None,
        longest,
        sequences.table.shape[1] * keys.shape[1],
        scale=scaling,
        window_size=window_size,
        enable_gqa=queries.shape[1] != keys.shape[2],
        seqused_k=sequences.lengths,
        block_table=sequences.table,
        num_splits=1,
    )
    assert isinstance(output, torch.Tensor)  # the log-sum-exp was not asked for
    return output


def gathered_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scaling: float,
    window: int | None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `Kernel`; by plain torch, in any precision and on any device, at the price of a copy of all pages read."""
    if sequences.query_lengths is None:
        newest = sequences.lengths[:, None] - 1  # (sequences, 1) positions of the queries
        return _attend(
            queries.unsqueeze(1), keys, values, sequences.table, newest, scaling, window, softcap, sinks
        ).squeeze(1)
    outputs = []
    starts = torch.tensor(sequences.query_lengths).cumsum(0) - torch.tensor(sequences.query_lengths)
    for number, (start, count) in enumerate(zip(starts.tolist(), sequences.query_lengths, strict=True)):
        newest = sequences.lengths[number : number + 1, None] - count + torch.arange(count, device=queries.device)
        table = sequences.table[number : number + 1]
        own = queries[start : start + count].unsqueeze(0)
        outputs.append(_attend(own, keys, values, table, newest, scaling, window, softcap, sinks)[0])
    return torch.cat(outputs)


def _attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    at: torch.Tensor,
    scaling: float,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """`queries` (sequences, count, heads, dim) at positions `at` (sequences, count) -> the same, value dim."""
    sequences, count, heads, dim = queries.shape
    key_heads = keys.shape[2]
    gathered_keys = keys[table].flatten(1, 2).transpose(1, 2)  # (sequences, key heads, tokens, dim)
    gathered_values = values[table].flatten(1, 2).transpose(1, 2)
    positions = torch.arange(gathered_keys.shape[2], device=queries.device)
    visible = positions <= at[..., None]  # (sequences, count, tokens)
    if window is not None:
        visible &= positions > at[..., None] - window
    # The query heads that share a key head become further queries of it, so that no key is copied for each of them.
    groups = heads // key_heads
    grouped = queries.view(sequences, count, key_heads, groups, dim).permute(0, 2, 3, 1, 4)
    grouped = grouped.reshape(sequences, key_heads, groups * count, dim)
    mask = visible.repeat(1, groups, 1).unsqueeze(1)  # (sequences, 1, groups * count, tokens)
    if softcap is None and sinks is None:
        output = functional.scaled_dot_product_attention(
            grouped, gathered_keys, gathered_values, attn_mask=mask, scale=scaling
        )  # (sequences, key heads, groups * count, value dim)
    else:
        scores = (grouped @ gathered_keys.transpose(2, 3)).float() * scaling
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        scores = scores.masked_fill(~mask, float("-inf"))
        if sinks is not None:
            column = sinks.float().view(1, key_heads, groups, 1).expand(sequences, -1, -1, count)
            scores = torch.cat([scores, column.reshape(sequences, key_heads, groups * count, 1)], -1)
        weights = scores.softmax(-1)[..., : mask.shape[-1]]
        output = weights.to(gathered_values.dtype) @ gathered_values
    return output.view(sequences, key_heads, groups, count, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)


def triton_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scaling: float,
    window: int | None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `Kernel`; by our own kernels, in any precision, over pages of any power of two."""
    from train.rollout.triton_kernels.decode_attention import decode_attention, split_tokens
    from train.rollout.triton_kernels.prefill_attention import prefill_attention

    queries = queries.contiguous()
    if sequences.tiles is not None:
        return prefill_attention(
            queries,
            keys,
            values,
            sequences.table,
            sequences.tiles,
            scaling,
            window=window,
            softcap=softcap,
            sinks=sinks,
        )
    split = split_tokens(len(queries) * keys.shape[2])
    return decode_attention(
        queries,
        keys,
        values,
        sequences.table,
        sequences.lengths,
        scaling,
        window=window,
        softcap=softcap,
        sinks=sinks,
        split_tokens=split,
    )


@functools.cache
def takes_pages() -> bool:
    """Whether this torch's flash attention reads keys through a block table (from 2.12 on)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "block_table" in inspect.signature(varlen_attn).parameters


def kernel_for(layer: LayerShape, page_tokens: int, device: torch.device, *, own: bool = False) -> Kernel:
    """`triton_attention` where our `own` kernels are to run, else `varlen_attention` where flash attention takes such a
    layer, else `gathered_attention`.
    """
    if own and max(layer.key_dim, layer.value_dim) <= 256:
        return triton_attention
    runs = (
        device.type == "cuda"
        and layer.plain
        and takes_pages()
        and torch.version.hip is None  # there `num_splits` is refused
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and layer.value_dtype in (torch.float16, torch.bfloat16)
        and layer.key_dim == layer.value_dim <= 256
        and layer.key_dim % 8 == 0
        and page_tokens % 256 == 0
    )
    return varlen_attention if runs else gathered_attention


class PagedAttention:
    """What the model's attention layers call (see `Attends`): store the new tokens, then read through the table.

    `slots` (tokens,) is where the tokens go; `kernels` holds one kernel a layer.
    """

    def __init__(self, pool: PagedPool, kernels: list[Kernel], slots: torch.Tensor, sequences: Sequences) -> None:
        self._pool = pool
        self._kernels = kernels
        self._slots = slots
        self._sequences = sequences

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """See `Attends`. Windows come from the pool's layers; of `options`, soft-capping and sinks are used."""
        check_sequence(query, key, value, len(self._slots))
        pool = self._pool
        pool.write(layer, key[0].transpose(0, 1), value[0].transpose(0, 1), self._slots)
        keys, values = pool.keys[layer], pool.values[layer]
        queries = query[0].transpose(0, 1).to(keys.dtype)  # (tokens, heads, dim)
        softcap, sinks = options.get("softcap"), options.get("s_aux")
        window = pool.layers[layer].window
        output = self._kernels[layer](queries, keys, values, self._sequences, scaling, window, softcap, sinks)
        return output.to(query.dtype).unsqueeze(0)
