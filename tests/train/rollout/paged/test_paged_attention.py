"""Attention through a block table equals attention over the tokens laid out in order."""

import pytest
import torch
from torch.nn import functional

from train.rollout.dense.pool import LayerShape
from train.rollout.paged.attention import Sequences, gathered_attention, kernel_for
from train.rollout.paged.pool import PAGE_TOKENS

SIZE, DIM, KEY_HEADS = 4, 8, 2


def paged(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Pools of keys and values with NaN-free rubbish between, the table, and the tokens of each sequence in order."""
    generator = torch.Generator().manual_seed(sum(lengths))
    width = -(-max(lengths) // SIZE)
    pages = torch.randperm(width * len(lengths) + 3, generator=generator)
    keys = torch.randn(len(pages), SIZE, KEY_HEADS, DIM, generator=generator)
    values = torch.randn(len(pages), SIZE, KEY_HEADS, DIM, generator=generator)
    table = pages[: width * len(lengths)].view(len(lengths), width).int()
    return keys, values, table, [row.long() for row in table]


@pytest.mark.parametrize("window", [None, 1, 3, 6])
@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("counts", [None, [1, 4, 7], [2, 2, 9]])
def test_pages_are_read_in_the_order_of_the_table(window: int | None, heads: int, counts: list[int] | None) -> None:
    lengths = [1, 6, 9] if counts is None else [3, 6, 9]
    query_counts = counts or [1, 1, 1]
    query_counts = [min(count, length) for count, length in zip(query_counts, lengths, strict=True)]
    keys, values, table, pages = paged(lengths)
    queries = torch.randn(sum(query_counts), heads, DIM)
    starts = torch.tensor([0, *query_counts]).cumsum(0).int()
    sequences = Sequences(
        table, torch.tensor(lengths).int(), starts, starts * 12, None if counts is None else query_counts
    )
    output = gathered_attention(queries, keys, values, sequences, 0.3, window)
    for number, (length, count) in enumerate(zip(lengths, query_counts, strict=True)):
        own_keys = keys[pages[number]].flatten(0, 1)[:length].repeat_interleave(heads // KEY_HEADS, 1)
        own_values = values[pages[number]].flatten(0, 1)[:length].repeat_interleave(heads // KEY_HEADS, 1)
        at = torch.arange(length - count, length)[:, None]
        mask = torch.arange(length) <= at
        if window is not None:
            mask &= torch.arange(length) > at - window
        expected = functional.scaled_dot_product_attention(
            queries[starts[number] : starts[number + 1]].transpose(0, 1),
            own_keys.transpose(0, 1),
            own_values.transpose(0, 1),
            attn_mask=mask,
            scale=0.3,
        ).transpose(0, 1)
        torch.testing.assert_close(output[starts[number] : starts[number + 1]], expected)


def test_flash_attention_is_not_asked_for_where_it_does_not_run() -> None:
    layer = LayerShape(2, 64, 64, torch.bfloat16, torch.bfloat16, None)
    assert kernel_for(layer, PAGE_TOKENS, torch.device("cpu")) is gathered_attention
