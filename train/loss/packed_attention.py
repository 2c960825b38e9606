"""Attention of packed rows: each row attends to itself, and to the tokens of another row that it follows.

By `varlen_attn` on a GPU in half precision, row by row with torch's own attention elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

from train.rollout.module_state import attention_configs

PACKED_ATTENTION = "rethink_packed"


@dataclass(slots=True)
class Span:
    """A row among the packed tokens [start, end), and the tokens [before, before_end) of another that it follows."""

    start: int
    end: int
    before: int = 0
    before_end: int = 0

    @property
    def keys(self) -> int:
        """Tokens that its last one attends to."""
        return self.end - self.start + self.before_end - self.before


@dataclass(slots=True)
class Packing:
    """The rows of a packed sequence, and the same for a kernel: `key_places` None where none follows another."""

    spans: list[Span]
    query_bounds: torch.Tensor  # (rows + 1,) int32
    key_bounds: torch.Tensor  # (rows + 1,) int32
    key_places: torch.Tensor | None  # (keys,) int64


def packing_of(spans: list[Span], device: torch.device) -> Packing:
    """The description of `spans` for a kernel."""

    def bounds(lengths: list[int]) -> torch.Tensor:
        return functional.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int().to(device)

    places = None
    if any(span.before_end for span in spans):
        ranges = [torch.arange(*pair) for s in spans for pair in ((s.before, s.before_end), (s.start, s.end))]
        places = torch.cat(ranges).to(device)
    return Packing(spans, bounds([s.end - s.start for s in spans]), bounds([s.keys for s in spans]), places)


@contextmanager
def packed_attention_in(model: nn.Module) -> Iterator[None]:
    """Have `model` attend within packed rows; its backward too, where that computes layers again."""
    configs = attention_configs(model)
    attentions = [config._attn_implementation_internal for config in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = PACKED_ATTENTION
        yield
    finally:
        for config, attention in zip(configs, attentions, strict=True):
            config._attn_implementation_internal = attention


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for transformers: `query` (1, heads, tokens, dim), `key` and `value` (1, key heads, tokens, dim).

    Returns (1, tokens, heads, dim). Raises NotImplementedError for what it does not compute.
    """
    if packing is None:
        raise NotImplementedError("its decoder does not hand keyword arguments down to attention")
    for feature in ("softcap", "s_aux", "position_bias"):
        if options.get(feature) is not None:
            raise NotImplementedError(f"its attention uses {feature}")
    if dropout:
        raise NotImplementedError("its attention has dropout")
    attend = _at_once if _is_for_flash(query, key, value) else _row_by_row
    return attend(query, key, value, packing, scaling, sliding_window), None


# For attention only: with no mask function under this name transformers builds no mask, which would be quadratic.
AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def _is_for_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    half = value.dtype in (torch.float16, torch.bfloat16)
    dim = query.shape[-1]
    fits = dim == value.shape[-1] <= 256 and dim % 8 == 0
    return half and fits and query.is_cuda and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _at_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """All rows by flash attention."""
    from torch.nn.attention.varlen import varlen_attn

    queries, keys, values = (part[0].transpose(0, 1).to(value.dtype).contiguous() for part in (query, key, value))
    if keys.shape[1] != queries.shape[1]:  # `enable_gqa` is not in every torch
        keys, values = (part.repeat_interleave(queries.shape[1] // part.shape[1], 1) for part in (keys, values))
    if packing.key_places is not None:
        keys, values = (part.index_select(0, packing.key_places) for part in (keys, values))
    output = varlen_attn(
        queries,
        keys,
        values,
        packing.query_bounds,
        packing.key_bounds,
        max(span.end - span.start for span in packing.spans),
        max(span.keys for span in packing.spans),
        scale=scaling,
        window_size=(-1, 0) if window is None else (window - 1, 0),
    )
    assert isinstance(output, torch.Tensor)
    return output.to(query.dtype).unsqueeze(0)


def _row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Each row by torch's own attention, in any type and on any device."""
    groups = query.shape[1] // key.shape[1]
    query, key = query.to(value.dtype), key.to(value.dtype)
    key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
    outputs = []
    for span in packing.spans:
        queries = query[:, :, span.start : span.end]
        keys, values = (
            torch.cat([part[:, :, span.before : span.before_end], part[:, :, span.start : span.end]], 2)
            if span.before_end
            else part[:, :, span.start : span.end]
            for part in (key, value)
        )
        square = keys.shape[2] == queries.shape[2] and (window is None or span.keys <= window)
        mask = None if square else _seen(queries.shape[2], span.keys, window, query.device)
        outputs.append(
            functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=square, scale=scaling
            )
        )
    return torch.cat(outputs, 2).transpose(1, 2)


def _seen(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(queries, keys) whether each of the last `queries` tokens sees each of `keys`: itself and those before it."""
    at = torch.arange(keys, device=device)
    behind = at[keys - queries :, None] - at[None, :]
    return (behind >= 0) & (behind < (window or keys))
