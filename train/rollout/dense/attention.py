"""The attention function of the engine: transformers calls it in every layer in place of its own.

It stores the new keys and values in the pool and attends from the pool: by block for the decode tokens (see
`passes.py`), one prompt at a time for prefill chunks. Keys and values of own blocks are read once and in place.
"""

from typing import Any, Protocol, cast

import torch
from torch.nn import functional

from train.rollout.dense.passes import MASKED, Layout, Pass, Tier
from train.rollout.dense.pool import BLOCK_SIZE, KeyValuePool
from train.rollout.schedule.block_manager import Chunk

ATTENTION_NAME = "rethink_rollout"


class NoPass(LookupError):
    """A model called attention without the engine's keyword argument."""


class Attends(Protocol):
    """The object that the engine passes through the model to every attention layer."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """`query` (1, heads, tokens, dim), `key` and `value` (1, key heads, tokens, dim) -> (1, tokens, heads, dim).

        `options` are the model's other keyword arguments to attention.
        """
        ...


class PassAttention:
    """Attention of one pass over one pool; what depends on the pass alone is computed in the first layer."""

    def __init__(self, pool: KeyValuePool, this_pass: Pass) -> None:
        self.pool = pool
        self.this_pass = this_pass
        self._slots: dict[int, torch.Tensor] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """See `Attends`. Windows come from the pool's layers, so `options` are not needed again."""
        check_sequence(query, key, value, len(self.this_pass.tokens))
        self._write(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
        queries = query[0].transpose(0, 1)  # (tokens, heads, dim)
        # Under autocast keys may be float32 (rotated) and values bfloat16: every product below casts by itself.
        with torch.autocast(query.device.type, enabled=False):
            output = self._attend(layer, queries, scaling)
        return output.to(query.dtype).unsqueeze(0)

    def _write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store `keys` and `values` (tokens, key heads, dim) of the pass's tokens."""
        heads = keys.shape[1]
        if heads not in self._slots:
            self._slots[heads] = self.this_pass.slots(heads, keys.device)
        self.pool.write(layer, keys, values, self._slots[heads])

    def _attend(self, layer: int, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """`queries` (tokens, heads, dim) -> (tokens, heads, value dim)."""
        rows = len(self.this_pass.live)
        parts = [self._decode(layer, queries[:rows], scaling)] if rows else []
        start = rows
        for chunk in self.this_pass.chunks:
            end = start + chunk.end - chunk.start
            parts.append(self._prefill(layer, queries[start:end], chunk, scaling))
            start = end
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    # ---- decode

    def _decode(self, layer: int, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """`queries` (rows, heads, dim) -> (rows, heads, value dim)."""
        layout = self.this_pass.layout
        assert layout is not None  # there are rows
        rows, heads, _ = queries.shape
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        queries = (queries * scaling).to(keys.dtype)
        value_dim = values.shape[-1]
        own = self._own_scores(layer, queries, layout)  # (low_end, heads, BLOCK_SIZE)
        shared = [self._tier_scores(layer, queries, tier) for tier in layout.tiers]

        tops = own.new_full((layout.entry_count + 1, heads), MASKED)  # the last entry is padding
        torch.amax(own, -1, out=tops[: layout.low_end])
        for (start, end), scores in zip(_tier_spans(layout), shared, strict=True):
            tops[start:end] = _by_entry(scores.amax(-1), heads)
        top = tops.index_select(0, layout.entries.view(-1)).view(*layout.entries.shape, heads).amax(1)  # (rows, heads)

        totals = own.new_empty(layout.entry_count, heads)
        outputs = values.new_empty(layout.entry_count, heads * value_dim)
        _exp_(own.sub_(top.index_select(0, layout.row_of_block).unsqueeze(-1)))
        torch.sum(own, -1, out=totals[: layout.low_end])
        key_heads = keys.shape[1]
        torch.bmm(
            own.to(values.dtype).view(layout.low_end * key_heads, -1, BLOCK_SIZE),
            values[: layout.low_end].view(layout.low_end * key_heads, BLOCK_SIZE, value_dim),
            out=outputs[: layout.low_end].view(layout.low_end * key_heads, -1, value_dim),
        )
        for tier, (start, end), scores in zip(layout.tiers, _tier_spans(layout), shared, strict=True):
            _exp_(scores.sub_(_by_sharer(top[tier.rows], key_heads).unsqueeze(-1)))
            totals[start:end] = _by_entry(scores.sum(-1), heads)
            gathered = _gather(values, tier.blocks)  # (stretches * key heads, tokens, dim)
            mixed = torch.bmm(scores.to(values.dtype).flatten(0, 1), gathered).view(*scores.shape[:3], value_dim)
            outputs[start:end] = _by_entry(mixed, heads * value_dim)
        total = functional.embedding_bag(layout.bag, totals, layout.bag_offsets, mode="sum")  # (rows, heads)
        summed = functional.embedding_bag(layout.bag, outputs.float(), layout.bag_offsets, mode="sum")
        return (summed.view(rows, heads, value_dim) / total.unsqueeze(-1)).to(values.dtype)

    def _own_scores(self, layer: int, queries: torch.Tensor, layout: Layout) -> torch.Tensor:
        keys = self.pool.keys[layer]
        count, (_, heads, dim) = layout.low_end, queries.shape
        per_block = queries.index_select(0, layout.row_of_block).view(count * keys.shape[1], -1, dim)
        scores = torch.bmm(per_block, keys[:count].view(count * keys.shape[1], BLOCK_SIZE, dim).transpose(1, 2))
        scores = scores.float().view(count, heads, BLOCK_SIZE)
        scores.add_(self.this_pass.unwritten)
        window = self.pool.layers[layer].window
        if window is not None:
            positions = layout.block_start[:, None] + torch.arange(BLOCK_SIZE, device=keys.device)
            oldest = self._oldest_seen(window)[layout.row_of_block]
            scores.masked_fill_((positions < oldest[:, None]).unsqueeze(1), MASKED)
        return scores

    def _tier_scores(self, layer: int, queries: torch.Tensor, tier: Tier) -> torch.Tensor:
        """(stretches, key heads, sharers * query heads a key head, tokens)."""
        keys = self.pool.keys[layer]
        key_heads, stretches = keys.shape[1], len(tier.rows)
        shared_queries = _by_sharer(queries[tier.rows], key_heads).flatten(0, 1)
        scores = torch.bmm(shared_queries, _gather(keys, tier.blocks).transpose(1, 2)).float()
        scores = scores.view(stretches, key_heads, -1, tier.positions.shape[1])
        window = self.pool.layers[layer].window
        if tier.padded:
            scores.masked_fill_((tier.positions < 0)[:, None, None], MASKED)
        if window is not None:
            oldest = self._oldest_seen(window)[tier.rows]  # (stretches, sharers)
            hidden = tier.positions[:, None] < oldest[..., None]  # (stretches, sharers, tokens)
            hidden = hidden.repeat_interleave(queries.shape[1] // key_heads, 1)
            scores.masked_fill_(hidden[:, None], MASKED)
        return scores

    def _oldest_seen(self, window: int) -> torch.Tensor:
        """(rows,) the first position that each decode token sees through a window of `window` tokens."""
        return self.this_pass.positions[: len(self.this_pass.live)] - window + 1

    # ---- prefill

    def _prefill(self, layer: int, queries: torch.Tensor, chunk: Chunk, scaling: float) -> torch.Tensor:
        """`queries` (tokens, heads, dim) of one prompt -> (tokens, heads, value dim)."""
        blocks = torch.tensor([chunk.blocks], device=queries.device)
        keys = _gather(self.pool.keys[layer], blocks)[:, : chunk.end]  # (key heads, tokens so far, dim)
        values = _gather(self.pool.values[layer], blocks)[:, : chunk.end]
        groups = queries.shape[1] // keys.shape[0]
        window = self.pool.layers[layer].window
        positions = torch.arange(chunk.end, device=queries.device)
        mask = None
        if chunk.start > 0 or (window is not None and window < chunk.end):
            at = positions[chunk.start :, None]
            mask = positions <= at
            if window is not None:
                mask &= positions > at - window
        output = functional.scaled_dot_product_attention(
            queries.transpose(0, 1).unsqueeze(0).to(values.dtype),
            keys.to(values.dtype).repeat_interleave(groups, 0).unsqueeze(0),
            values.repeat_interleave(groups, 0).unsqueeze(0),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        return output[0].transpose(0, 1)


def check_sequence(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tokens: int) -> None:
    """Raise ValueError where a layer attends with another number of tokens than the pass. Only the pass's tokens have
    places in the pool: further keys and values would be written over foreign memory.
    """
    lengths = {states.shape[2] for states in (query, key, value)}
    if lengths != {tokens} or {len(states) for states in (query, key, value)} != {1}:
        raise ValueError(
            f"a layer attends with queries {tuple(query.shape)}, keys {tuple(key.shape)} and values "
            f"{tuple(value.shape)} in a pass of {tokens} tokens: the model, or an adapter on it, changes the sequence."
        )


def rollout_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    rollout_pass: Attends | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers calls; the engine passes `rollout_pass` through the model's keyword arguments."""
    if rollout_pass is None:
        raise NoPass("a layer's attention was called without the engine's pass")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = cast(int, module.layer_idx)
    return rollout_pass.attend(layer, query, key, value, scale, options), None


def _exp_(scores: torch.Tensor) -> torch.Tensor:
    """exp in place, of scores at most 0 but for blocks that no row owns, whose values are never used.

    Clamped because MKL's exp takes a slow path where a result underflows or overflows (1.7x on a tenth of masked
    scores); e^-80 beside a total of at least 1 is far below a float's precision.
    """
    return scores.clamp_(-80, 0).exp_()


def _gather(pool: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """Blocks (stretches, width) of `pool` as (stretches * key heads, width * BLOCK_SIZE, dim)."""
    heads, dim = pool.shape[1], pool.shape[3]
    index = (blocks[:, None] * heads + torch.arange(heads, device=pool.device)[:, None]).flatten()
    return pool.view(-1, BLOCK_SIZE * dim).index_select(0, index).view(-1, blocks.shape[1] * BLOCK_SIZE, dim)


def _by_sharer(per_row: torch.Tensor, key_heads: int) -> torch.Tensor:
    """(stretches, sharers, heads, ...) -> (stretches, key heads, sharers * query heads a key head, ...)."""
    stretches, sharers, heads = per_row.shape[:3]
    split = per_row.view(stretches, sharers, key_heads, heads // key_heads, *per_row.shape[3:])
    return split.transpose(1, 2).reshape(stretches, key_heads, -1, *per_row.shape[3:])


def _by_entry(per_sharer: torch.Tensor, features: int) -> torch.Tensor:
    """(stretches, key heads, sharers * query heads a key head, ...) -> (stretches * sharers, features)."""
    stretches, key_heads = per_sharer.shape[:2]
    trailing = per_sharer[0, 0, 0].numel()
    per_key_head = features // (key_heads * trailing)
    split = per_sharer.reshape(stretches, key_heads, -1, per_key_head, trailing)
    return split.transpose(1, 2).reshape(-1, features)


def _tier_spans(layout: Layout) -> list[tuple[int, int]]:
    """The entry numbers [start, end) of each tier."""
    spans, start = [], layout.low_end
    for tier in layout.tiers:
        spans.append((start, start + tier.rows.numel()))
        start = spans[-1][1]
    return spans
