"""Attention over pages equals softmax over a row's own tokens, at page edges and whatever lies in the other pages."""

import numpy as np
import pytest
import torch

from train.rollout.triton_kernels.decode_attention import decode_attention
from train.rollout.triton_kernels.prefill_attention import prefill_attention
from train.rollout.triton_kernels.tiles import tiles_of

PAGE = 16
CLOSE = {torch.float32: 1e-5, torch.float16: 3e-3}


def pages_of(
    lengths: list[int], key_heads: int, key_dim: int, value_dim: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values in scattered pages, NaN wherever no token of a row is, and the table."""
    generator = torch.Generator().manual_seed(sum(lengths))
    width = -(-max(lengths) // PAGE)
    count = width * len(lengths) + 2
    table = torch.randperm(count, generator=generator)[: width * len(lengths)].view(len(lengths), width)
    keys = torch.full((count, PAGE, key_heads, key_dim), float("nan"))
    values = torch.full((count, PAGE, key_heads, value_dim), float("nan"))
    for row, length in enumerate(lengths):
        slots = table[row, torch.arange(length) // PAGE] * PAGE + torch.arange(length) % PAGE
        keys.view(-1, key_heads, key_dim)[slots] = torch.randn(length, key_heads, key_dim, generator=generator)
        values.view(-1, key_heads, value_dim)[slots] = torch.randn(length, key_heads, value_dim, generator=generator)
    return keys.to(dtype), values.to(dtype), table.int()


def expected(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    pages: torch.Tensor,
    position: int,
    scaling: float,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """(heads, value dim) in float64, for one `query` (heads, dim) at `position`."""
    first = 0 if window is None else max(0, position + 1 - window)
    own = [pool[pages.long()].flatten(0, 1)[first : position + 1].double() for pool in (keys, values)]
    key, value = (part.repeat_interleave(len(query) // part.shape[1], 1).transpose(0, 1) for part in own)
    scores = (key @ query.double().unsqueeze(-1)).squeeze(-1) * scaling  # (heads, tokens)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if sinks is not None:
        scores = torch.cat([scores, sinks.double()[:, None]], 1)
    weights = scores.softmax(1)[:, : value.shape[1]]
    return (weights.unsqueeze(-1) * value).sum(1)


CASES = [  # key heads, group, key dim, value dim, window, softcap, sinks, split tokens
    (2, 1, 64, 64, None, None, False, 64),
    (1, 3, 64, 64, None, None, False, 512),
    (2, 6, 64, 64, 24, None, False, 64),
    (1, 7, 128, 128, None, None, False, 128),
    (1, 2, 80, 80, 17, 5.0, False, 64),
    (1, 4, 32, 16, None, None, True, 64),
    (1, 2, 32, 32, 1, 30.0, True, 512),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("key_heads, group, key_dim, value_dim, window, softcap, sinks, split_tokens", CASES)
def test_decoding_is_softmax_over_the_rows_own_tokens(
    key_heads: int,
    group: int,
    key_dim: int,
    value_dim: int,
    window: int | None,
    softcap: float | None,
    sinks: bool,
    split_tokens: int,
    dtype: torch.dtype,
) -> None:
    lengths = [1, 15, 16, 17, 64, 65, 150]
    keys, values, table = pages_of(lengths, key_heads, key_dim, value_dim, dtype)
    heads = key_heads * group
    # As the fused product hands queries over: in rows that hold more than them.
    queries = torch.randn(len(lengths), heads * key_dim + 9).to(dtype)[:, : heads * key_dim].view(-1, heads, key_dim)
    sink = torch.randn(heads) if sinks else None
    result = decode_attention(
        queries,
        keys,
        values,
        table,
        torch.tensor(lengths, dtype=torch.int32),
        0.3,
        window=window,
        softcap=softcap,
        sinks=sink,
        split_tokens=split_tokens,
    )
    for row, length in enumerate(lengths):
        own = expected(queries[row], keys, values, table[row], length - 1, 0.3, window, softcap, sink)
        torch.testing.assert_close(result[row].double(), own, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def test_a_row_is_the_same_bit_for_bit_whatever_shares_its_batch() -> None:
    lengths = [150, 3, 90]
    keys, values, table = pages_of(lengths, 1, 32, 32, torch.float32)
    queries, sizes = torch.randn(3, 2, 32), torch.tensor(lengths, dtype=torch.int32)
    together = decode_attention(queries, keys, values, table, sizes, 0.2, split_tokens=64)
    for row in range(3):
        part = slice(row, row + 1)
        alone = decode_attention(queries[part], keys, values, table[part], sizes[part], 0.2, split_tokens=64)
        assert torch.equal(alone, together[part])


def test_a_key_that_is_not_finite_shows_in_its_own_row_alone() -> None:
    keys, values, table = pages_of([20, 20], 1, 32, 32, torch.float32)
    keys[table[1, 1].long(), 2, 0, 5] = float("nan")
    sizes = torch.tensor([20, 20], dtype=torch.int32)
    result = decode_attention(torch.randn(2, 2, 32), keys, values, table, sizes, 1.0)
    assert result.isfinite().flatten(1).all(1).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "heads, key_heads, dim, window, softcap, sinks",
    [(2, 1, 64, None, None, False), (3, 1, 24, 20, 5.0, True), (2, 2, 128, 1, None, False)],
)
def test_a_chunk_of_a_prompt_sees_what_lies_before_each_token(
    heads: int, key_heads: int, dim: int, window: int | None, softcap: float | None, sinks: bool, dtype: torch.dtype
) -> None:
    lengths, counts = np.array([1, 40, 70]), np.array([1, 33, 20])
    keys, values, table = pages_of(lengths.tolist(), key_heads, dim, dim, dtype)
    queries = torch.randn(int(counts.sum()), heads, dim).to(dtype)
    sink = torch.randn(heads) if sinks else None
    result = prefill_attention(
        queries,
        keys,
        values,
        table,
        torch.from_numpy(tiles_of(counts, lengths)),
        0.2,
        window=window,
        softcap=softcap,
        sinks=sink,
    )
    token = 0
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        for position in range(length - count, length):
            own = expected(queries[token], keys, values, table[row], position, 0.2, window, softcap, sink)
            torch.testing.assert_close(result[token].double(), own, rtol=CLOSE[dtype], atol=CLOSE[dtype])
            token += 1


def test_a_prompt_is_the_same_in_whatever_chunks_it_comes() -> None:
    keys, values, table = pages_of([75], 1, 16, 16, torch.float32)
    queries = torch.randn(75, 2, 16)

    def run(first: int, last: int) -> torch.Tensor:
        tiles = torch.from_numpy(tiles_of(np.array([last - first]), np.array([last])))
        return prefill_attention(queries[first:last], keys, values, table, tiles, 0.2)

    torch.testing.assert_close(torch.cat([run(0, 13), run(13, 75)]), run(0, 75), rtol=1e-6, atol=1e-6)
