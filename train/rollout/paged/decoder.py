"""What the device keeps between calls: the pool, the state of the rollouts, the batch, and their graphs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from train.rollout.dense.pool import LayerShape
from train.rollout.interface import Sampling
from train.rollout.paged.attention import Sequences
from train.rollout.paged.forwards import Forward
from train.rollout.paged.graphs import CudaCapture, StepGraphs, buckets, power_of_two
from train.rollout.paged.pool import SCRATCH_PAGE, PagedPool
from train.rollout.paged.prefill import Layout, PaddedPrefill, SplitForward, lay_out
from train.rollout.paged.state import RolloutState, Rules, make_rules
from train.rollout.paged.step import Batch
from train.rollout.paged.transfer import upload
from train.rollout.schedule.block_manager import Chunk
from train.rollout.schedule.rows import RowArrays
from train.rollout.triton_kernels.tiles import tiles_of

MOST_KINDS = 16  # ways of drawing whose graphs are kept; a session's requests may bring any number


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a decoder holds: pages in the pool, pages a rollout, rollouts a call, and rows a step."""

    pages: int
    row_pages: int
    rollouts: int
    rows: int

    def holds(self, other: "Capacity") -> bool:
        """Whether a decoder of this capacity serves a call that needs `other`."""
        return (
            self.pages >= other.pages
            and self.row_pages >= other.row_pages
            and self.rollouts >= other.rollouts
            and self.rows == other.rows
        )


class PagedDecoder:
    """Runs decode steps and prefills of `forward` over one pool.

    It is kept while its capacity suffices and the layers stay the same, since graphs point into its tensors.
    """

    def __init__(
        self,
        forward: Forward,
        layers: Sequence[LayerShape],
        capacity: Capacity,
        page_limit: int,
        page_tokens: int,
        device: torch.device,
        *,
        prefill_tokens: int,
        cuda_graphs: bool,
    ) -> None:
        self.forward = forward
        self.layers = list(layers)
        self.capacity = capacity
        self.page_limit = page_limit  # pages that the memory limit allowed when this was made
        self.device = device
        self.pool = PagedPool(layers, capacity.pages, page_tokens, device)
        self.state = RolloutState(capacity.rollouts, device)
        self.graphs = StepGraphs(CudaCapture(device) if cuda_graphs and device.type == "cuda" else None, device)
        self.buckets = buckets(capacity.rows)
        starts = torch.arange(capacity.rows + 1, dtype=torch.int32, device=device)
        self._batch = Batch(
            rollouts=torch.full((capacity.rows,), self.state.scratch, dtype=torch.int64, device=device),
            table=torch.full((capacity.rows, capacity.row_pages), SCRATCH_PAGE, dtype=torch.int32, device=device),
            query_starts=starts,
            key_starts=starts * (capacity.row_pages * page_tokens),
            outputs=torch.zeros(capacity.rows, 4, dtype=torch.int32, device=device),
        )
        self._padded = (
            PaddedPrefill(forward, prefill_tokens, capacity.row_pages, page_tokens, device)
            if isinstance(forward, SplitForward)
            else None
        )
        self._rules: dict[Sampling, Rules] = {}
        self._rollouts = np.zeros(0, np.int64)  # those in the batch, padded to its bucket
        self._width = capacity.row_pages  # columns of the table that the batch reads

    def rules_of(self, sampling: Sampling) -> Rules:
        """The rules of `sampling`, kept because captured graphs point to them."""
        kind = _kind(sampling)
        if kind not in self._rules:
            if len(self._rules) == MOST_KINDS:
                self.graphs.forget()
                self._rules.clear()
            self._rules[kind] = make_rules(sampling.stop_ids, sampling.thinking, self.device)
        return self._rules[kind]

    def fill(self, rollouts: np.ndarray, rows: RowArrays) -> None:
        """Set the rows of the next steps: `rollouts` (rows,), whose pages stand in the table of `rows`."""
        size = next(bucket for bucket in self.buckets if bucket >= len(rollouts))
        self._rollouts = np.full(size, self.state.scratch, np.int64)
        self._rollouts[: len(rollouts)] = rollouts
        pages = rows.own_start[rollouts] // self.pool.page_tokens + rows.block_count[rollouts]  # (rows,) pages
        widest = int(pages.max())
        if self.forward.gathers:  # it copies whole rows of the table, so their width is worth a graph of its own
            widest = self._width = min(self.capacity.row_pages, power_of_two(widest))
        table = np.full((size, widest), SCRATCH_PAGE, np.int32)
        columns = min(widest, rows.table.shape[1])
        table[: len(rollouts), :columns] = rows.table[rollouts, :columns]
        table[: len(rollouts)][np.arange(widest) >= pages[:, None]] = SCRATCH_PAGE  # entries of an earlier row
        self._batch.table[:size, :widest].copy_(upload(table, self.device))
        self._batch.rollouts[:size].copy_(upload(self._rollouts, self.device))

    def extend(self, places: np.ndarray, rows: RowArrays) -> None:
        """Take up the newest page of the rows at `places` of the batch that was filled in last."""
        rollouts, page_tokens = self._rollouts[places], self.pool.page_tokens
        columns = rows.own_start[rollouts] // page_tokens + rows.block_count[rollouts] - 1
        at = upload(np.stack([places, columns, rows.table[rollouts, columns]]), self.device)
        self._batch.table.index_put_((at[0], at[1]), at[2].int())

    def decode(self, sampling: Sampling) -> tuple[torch.Tensor, bool]:
        """One step of the rows filled in last; the outputs of their bucket, and whether a graph was replayed."""
        size, rules = len(self._rollouts), self.rules_of(sampling)
        batch, key = self._batch.first(size, self._width), (size, self._width, _kind(sampling))

        def step() -> None:
            self.forward.decode(self.pool, self.state, batch, sampling, rules)

        if self.graphs.wants(key):
            batch.rollouts.fill_(self.state.scratch)  # the steps that warm up must leave everything as it is
            self.graphs.capture(key, step)
            batch.rollouts.copy_(upload(self._rollouts, self.device))
        replays = self.graphs.replay(key)
        if not replays:
            step()
        return batch.outputs, replays

    def prefill(self, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, bool]:
        """Run `chunks` side by side; logits (completed, vocab) of their last tokens, and whether a graph ran."""
        layout, padded = lay_out(chunks, self.pool.page_tokens), self._padded
        if padded is None:
            return self._prefill_as_it_is(layout), False
        size = padded.size_of(layout)
        if size is None:  # a later chunk may read what an earlier one writes, and does
            middle = len(chunks) // 2
            parts = [self.prefill(part) for part in (chunks[:middle], chunks[middle:])]
            return torch.cat([logits for logits, _ in parts]), all(replayed for _, replayed in parts)
        states, key = padded.fill(layout, size), ("prefill", size)

        def step() -> None:
            padded.run(self.pool, size)

        if self.graphs.wants(key):
            self.graphs.capture(key, step)  # to warm up writes what the step itself writes
        replayed = self.graphs.replay(key)
        if not replayed:
            step()
        return padded.forward.logits(states), replayed

    def _prefill_as_it_is(self, layout: Layout) -> torch.Tensor:
        """A pass of other shapes each time, for forwards that no graph can hold."""
        bounds = np.arange(len(layout.counts) + 1, dtype=np.int32)
        sequences = Sequences(
            table=self._upload(layout.table),
            lengths=self._upload(layout.lengths),
            query_starts=self._upload(np.concatenate([[0], layout.counts.cumsum()]).astype(np.int32)),
            key_starts=self._upload(bounds * np.int32(layout.table.shape[1] * self.pool.page_tokens)),
            query_lengths=layout.counts.tolist(),
            tiles=self._upload(tiles_of(layout.counts, layout.lengths)),
        )
        tokens, positions, slots = map(self._upload, (layout.tokens, layout.positions, layout.slots))
        return self.forward.prefill(self.pool, tokens, positions, slots, sequences, self._upload(layout.last))

    def copy_pages(self, sources: list[int], destinations: list[int]) -> None:
        """Copy whole pages; all sources are read before any destination is written."""
        if sources:
            self.pool.copy(self._upload(np.array(sources)), self._upload(np.array(destinations)))

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        return upload(array, self.device)


def _kind(sampling: Sampling) -> Sampling:
    """`sampling` without what a captured step reads from the state of the rollouts."""
    return replace(sampling, seed=0, max_new_tokens=1)
