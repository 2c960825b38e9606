"""What a padded pass over prompts reads and writes, with a forward that adds up what each query may see."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.rollout.dense.pool import LayerShape
from train.rollout.paged.attention import Sequences
from train.rollout.paged.decoder import Capacity, PagedDecoder
from train.rollout.paged.pool import SCRATCH_PAGE, PagedPool
from train.rollout.paged.prefill import PaddedPrefill, SplitForward, lay_out
from train.rollout.schedule.block_manager import Chunk, Prefill
from train.rollout.schedule.rows import Group

PAGE = 16
CPU = torch.device("cpu")
ONE = [LayerShape(1, 1, 1, torch.float64, torch.float64, None)]


class Sums:
    """Each query's state is the sum of the tokens up to it, each times its position + 1; reads tiles and table only."""

    name, gathers, as_is, bytes, width, dtype = "sums", False, False, 0, 1, torch.float64

    def states(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        keys = pool.keys[0].view(-1)
        keys[slots] = tokens.double()
        sums = torch.full((len(tokens), 1), torch.nan, dtype=torch.float64)
        assert sequences.tiles is not None
        for sequence, first, count, position in sequences.tiles.tolist():
            for member in range(count):
                at = np.arange(position + member + 1)
                pages = sequences.table[sequence].numpy()[at // PAGE]
                assert sums[first + member].isnan(), "two tiles of one query"
                read = keys[torch.from_numpy(pages.astype(np.int64) * PAGE + at % PAGE)]
                sums[first + member] = (read * torch.from_numpy(at + 1.0)).sum()
        assert not sums.isnan().any(), "a query without a tile"
        return sums[last]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states.clone()


def chunks_of(prompts: list[list[int]], done: list[int], first_page: int = 1) -> list[Chunk]:
    """The rest of each prompt, `done` tokens of which were in a pass before."""
    chunks, page = [], first_page
    for prompt, start in zip(prompts, done, strict=True):
        count = -(-len(prompt) // PAGE)
        prefill = Prefill(Group(prompt, [], deque()), None, prompt, start, 0)
        chunks.append(Chunk(prefill, start, len(prompt), list(range(page, page + count))))
        page += count
    return chunks


def decoder_of(most: int, pages: int) -> PagedDecoder:
    capacity = Capacity(pages, 8, 4, 4)
    return PagedDecoder(Sums(), ONE, capacity, pages, PAGE, CPU, prefill_tokens=most, cuda_graphs=False)  # type: ignore[arg-type]


def wanted(prompts: list[list[int]]) -> list[float]:
    return [float(sum((at + 1) * token for at, token in enumerate(prompt))) for prompt in prompts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.data())
def test_every_query_reads_its_own_prompt_and_padding_touches_the_scratch_page_alone(
    lengths: list[int], data: st.DataObject
) -> None:
    prompts = [[3 + (7 * number + at) % 50 for at in range(length)] for number, length in enumerate(lengths)]
    halves = [data.draw(st.integers(0, length - 1)) for length in lengths]
    decoder = decoder_of(640, 60)
    pool = decoder.pool.keys[0]
    pool[1:] = torch.nan  # so that reading what nobody wrote would show
    firsts = [
        Chunk(chunk.prefill, 0, half, chunk.blocks)
        for chunk, half in zip(chunks_of(prompts, [0] * len(prompts)), halves, strict=True)
        if half
    ]
    if firsts:
        logits, _ = decoder.prefill(firsts)
        assert logits.shape == (0, 1)
    logits, _ = decoder.prefill(chunks_of(prompts, halves))
    assert logits[:, 0].tolist() == wanted(prompts)
    used = sum(-(-length // PAGE) for length in lengths)
    assert pool[1 + used :].isnan().all() and not pool[SCRATCH_PAGE].isnan().any()


def test_more_prompts_than_a_pass_has_tiles_for_run_in_several() -> None:
    prompts = [[3 + number % 50, 4] for number in range(40)]
    decoder = decoder_of(128, 60)
    chunks = chunks_of(prompts, [0] * 40)
    assert decoder._padded is not None and decoder._padded.size_of(lay_out(chunks, PAGE)) is None
    logits, _ = decoder.prefill(chunks)
    assert logits[:, 0].tolist() == wanted(prompts)


def test_the_sizes_of_a_pass_are_few_and_pad_by_a_third_at_most() -> None:
    forward = Sums()
    assert isinstance(forward, SplitForward)
    padded = PaddedPrefill(forward, 4096, 8, PAGE, CPU)
    assert padded.sizes == [64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096]
    for length in (*range(1, 400, 13), 640, 1025, 4095, 4096):
        size = padded.size_of(lay_out(chunks_of([[3] * length], [0]), PAGE))
        assert size is not None and (size == 64 or size * 2 <= 3 * length)


@pytest.mark.parametrize("most", [1, 20, 48, 64, 65])
def test_one_prompt_fits_whatever_the_chunks(most: int) -> None:
    padded = PaddedPrefill(Sums(), most, 8, PAGE, CPU)
    assert all(padded.size_of(lay_out(chunks_of([[3] * n], [0]), PAGE)) is not None for n in range(1, most + 1))
