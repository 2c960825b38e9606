"""Chunks of prompts: where their tokens lie, and their pass padded to one of a few sizes, which a graph may capture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from train.rollout.paged.attention import Sequences
from train.rollout.paged.graphs import buckets
from train.rollout.paged.pool import SCRATCH_PAGE, PagedPool
from train.rollout.paged.transfer import upload
from train.rollout.schedule.block_manager import Chunk
from train.rollout.triton_kernels.tiles import TILE, tiles_of

SMALLEST = 64  # tokens of a padded pass: with fewer it takes as long, since it reads all weights


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens of some chunks side by side, on the host."""

    tokens: np.ndarray  # (tokens,) int64
    positions: np.ndarray  # (tokens,) int64
    slots: np.ndarray  # (tokens,) int64: page * page_tokens + offset
    counts: np.ndarray  # (chunks,) int64 tokens of each
    lengths: np.ndarray  # (chunks,) int32 tokens that the last one of each reads, itself among them
    table: np.ndarray  # (chunks, pages) int32
    last: np.ndarray  # (completed,) int64: the last token of each prompt that is complete with this


def lay_out(chunks: Sequence[Chunk], page_tokens: int) -> Layout:
    """Put the tokens of `chunks` side by side."""
    counts = np.array([chunk.end - chunk.start for chunk in chunks])
    table = np.full((len(chunks), max(len(chunk.blocks) for chunk in chunks)), SCRATCH_PAGE, np.int32)
    for row, chunk in enumerate(chunks):
        table[row, : len(chunk.blocks)] = chunk.blocks
    positions = np.concatenate([np.arange(chunk.start, chunk.end) for chunk in chunks])
    pages = table[np.repeat(np.arange(len(chunks)), counts), positions // page_tokens].astype(np.int64)
    return Layout(
        tokens=np.concatenate([np.asarray(chunk.prefill.tokens[chunk.start : chunk.end]) for chunk in chunks]),
        positions=positions,
        slots=pages * page_tokens + positions % page_tokens,
        counts=counts,
        lengths=np.array([chunk.end for chunk in chunks], np.int32),
        table=table,
        last=counts.cumsum()[[chunk.is_last for chunk in chunks]] - 1,
    )


@runtime_checkable
class SplitForward(Protocol):
    """A forward whose prefill is of fixed shapes up to the head, which reads a varying number of tokens."""

    width: int  # of a state
    dtype: torch.dtype  # of the states

    def states(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        """Run `tokens` (tokens,) of some prompts; what the head reads (last, width) at the places `last`."""
        ...

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """The head's (last, vocab) of `states` (last, width)."""
        ...


class PaddedPrefill:
    """A pass of at most `most` tokens over storage that stays.

    Padding tokens are prompts of their own on the scratch page: what they write is finite, and read by nobody else.
    """

    def __init__(
        self, forward: SplitForward, most: int, row_pages: int, page_tokens: int, device: torch.device
    ) -> None:
        self.forward = forward
        self.sizes = [size for size in buckets(most) if size >= min(SMALLEST, most)]
        self.device = device
        self.page_tokens = page_tokens
        places = _tiles(most)
        pages = max(row_pages, -(-TILE // page_tokens))

        def zeros(*shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self._numbers = zeros(3, most, dtype=torch.int64)  # tokens, positions and slots
        # A prompt has one tile at least, so there is a row for each; the row after them is that of padding.
        self._table = torch.full((places + 1, pages), SCRATCH_PAGE, dtype=torch.int32, device=device)
        self._tiles = zeros(places, 4, dtype=torch.int32)
        self._last = zeros(places, dtype=torch.int64)
        self._states = zeros(places, forward.width, dtype=forward.dtype)

    def size_of(self, layout: Layout) -> int | None:
        """The smallest size that holds `layout`; None where none does, for very many very short prompts."""
        tiles = int((-(-layout.counts // TILE)).sum())
        tokens = len(layout.tokens)
        return next(
            (size for size in self.sizes if size >= tokens and _tiles(size) >= tiles - (-(size - tokens) // TILE)), None
        )

    def fill(self, layout: Layout, size: int) -> torch.Tensor:
        """Set the tokens of the next pass, of `size`; where it will leave the states (completed, width)."""
        count = len(layout.tokens)
        padding = np.arange(size - count)
        numbers = np.zeros((3, size), np.int64)
        numbers[:, :count] = layout.tokens, layout.positions, layout.slots
        numbers[2, count:] = SCRATCH_PAGE * self.page_tokens + padding % self.page_tokens
        beyond = tiles_of(np.array([len(padding)]), np.array([len(padding)]))
        beyond += np.array([len(self._table) - 1, count, 0, 0], np.int32)
        beyond[:, 3] = 0
        tiles = np.zeros((_tiles(size), 4), np.int32)  # those without a query do nothing
        own = np.concatenate([tiles_of(layout.counts, layout.lengths), beyond])
        tiles[: len(own)] = own
        last = np.zeros(_tiles(size), np.int64)
        last[: len(layout.last)] = layout.last
        self._numbers[:, :size].copy_(upload(numbers, self.device))
        self._table[: len(layout.table), : layout.table.shape[1]].copy_(upload(layout.table, self.device))
        self._tiles[: len(tiles)].copy_(upload(tiles, self.device))
        self._last[: len(last)].copy_(upload(last, self.device))
        return self._states[: len(layout.last)]

    def run(self, pool: PagedPool, size: int) -> None:
        """Run the tokens that were filled in last, of `size`; a graph may capture this."""
        tokens, positions, slots = self._numbers[:, :size]
        tiles, last = self._tiles[: _tiles(size)], self._last[: _tiles(size)]
        # The kernel for prompts reads the table and the tiles alone.
        sequences = Sequences(self._table, tiles[:, 2], tiles[:, 1], tiles[:, 1], tiles=tiles)
        self._states[: len(last)].copy_(self.forward.states(pool, tokens, positions, slots, sequences, last))


def _tiles(size: int) -> int:
    """Tiles of a pass of `size` tokens: enough for prompts of 8 tokens."""
    return max(8, size // 8)
