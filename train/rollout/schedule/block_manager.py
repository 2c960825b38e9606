"""Which rows, prompts and prefills hold which blocks, and which of them release some where blocks run out.

No torch here, like in `scheduler.py`, which decides what runs.
"""

from dataclasses import dataclass

import numpy as np

from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.rows import Group, Row, RowArrays


@dataclass(slots=True, eq=False)
class Prefill:
    """Tokens of one prompt, or of one preempted row, on their way into the cache.

    `row` is the row that alone uses the result; None where it is a prompt that several rollouts will be forked from.
    The first `inherited` shared blocks are computed by someone else and must be ready before this one runs.
    """

    group: Group
    row: Row | None
    tokens: list[int]
    done: int
    inherited: int


@dataclass(slots=True)
class Chunk:
    """Tokens [start, end) of a prefill, in one pass of the model."""

    prefill: Prefill
    start: int
    end: int
    blocks: list[int]  # pool blocks of tokens [0, end)

    @property
    def is_last(self) -> bool:
        """Whether the prefill is complete with this chunk."""
        return self.end == len(self.prefill.tokens)


class BlockManager:
    """Everybody with a claim on blocks: rows that run, prompts that are ready, prefills, and those that wait."""

    def __init__(self, groups: list[Group], rows: RowArrays, allocator: BlockAllocator, block_size: int) -> None:
        self.rows = rows
        self.allocator = allocator
        self.block_size = block_size
        self.live: dict[int, Row] = {}
        self.ready: list[Group] = []
        self.prefills: list[Prefill] = []
        self.preempted: list[Row] = []
        # Longest expected first: a long row started late would run alone at the end. Prompts never seen come first.
        self.waiting = sorted(groups, key=lambda group: -(group.expected or float("inf")))
        self.preemptions = 0
        self.version = 0  # changes whenever `live` or a row's blocks do
        self.joined = 0  # changes whenever `live` does
        self._live_rows, self._live_version = np.zeros(0, np.int64), 0

    def live_rows(self) -> np.ndarray:
        """The rollout numbers that run, in the order of `live`; not to be written to."""
        if self._live_version != self.joined:
            self._live_rows = np.fromiter(self.live, np.int64, len(self.live))
            self._live_version = self.joined
        return self._live_rows

    def _join(self, row: Row, cached: int) -> None:
        rows, index = self.rows, row.index
        rows.cached[index] = cached
        rows.own_start[index] = len(row.group.path) * self.block_size
        rows.block_count[index] = len(row.blocks)
        blocks = [node.block for node in row.group.path] + row.blocks
        rows.table[index, : len(blocks)] = blocks
        self.live[index] = row
        self.version += 1
        self.joined += 1

    def _leave(self, row: Row) -> None:
        del self.live[row.index]
        self._release(row.group, row.blocks)
        self.version += 1
        self.joined += 1

    def _add_blocks(self, indices: np.ndarray, blocks: list[int]) -> None:
        """Give each of the live rows `indices` (rows,) one more block."""
        rows = self.rows
        rows.table[indices, rows.own_start[indices] // self.block_size + rows.block_count[indices]] = blocks
        rows.block_count[indices] += 1
        for index, block in zip(indices.tolist(), blocks, strict=True):
            self.live[index].blocks.append(block)
        self.version += 1

    def _reclaim(self) -> None:
        """Free some blocks: of prompts that wait, then of the newest prefill, then of the youngest row."""
        if self.ready:
            self._drop_ready(self.ready[-1])
        elif self.prefills:
            self._drop_prefill(self.prefills[-1])
        else:
            row = max(self.live.values(), key=lambda row: row.serial)
            self._leave(row)
            row.blocks = []
            self.preemptions += 1
            self.preempted.append(row)
            self.preempted.sort(key=lambda row: row.serial)

    def withdraw(self, group: Group) -> None:
        """Remove `group` and all its rows from the schedule, whatever their state, and release their blocks."""
        for row in [row for row in self.live.values() if row.group is group]:
            self._leave(row)
        self.preempted = [row for row in self.preempted if row.group is not group]
        if any(prefill.group is group for prefill in self.prefills):
            self._restart_dependants(group)
        for prefill in [prefill for prefill in self.prefills if prefill.group is group]:
            self.prefills.remove(prefill)
            self._release(group, [group.tail] if prefill.row is None else prefill.row.blocks)
        if group in self.ready:
            self.ready.remove(group)
            self._release(group, [group.tail])
        if group in self.waiting:
            self.waiting.remove(group)
        group.pending.clear()
        group.logits = None

    def _restart_dependants(self, group: Group) -> None:
        """Put back prefills of others that wait for shared blocks, which `group` may have been about to compute."""
        for prefill in reversed(list(self.prefills)):
            inherited = prefill.group.path[: prefill.inherited]
            if prefill.group is not group and not all(node.ready for node in inherited):
                self._drop_prefill(prefill)

    def _drop_ready(self, group: Group) -> None:
        self._release_template(group)
        group.logits = None
        self.ready.remove(group)
        self.waiting.insert(0, group)

    def _drop_prefill(self, prefill: Prefill) -> None:
        """Newest only: an older prefill never waits for blocks of a newer one."""
        self.prefills.remove(prefill)
        group, row = prefill.group, prefill.row
        if row is None:
            self._release_template(group)
            self.waiting.insert(0, group)
            return
        self._release(group, row.blocks)
        row.blocks = []
        if row.serial >= 0:
            self.preempted.insert(0, row)
        else:
            group.pending.appendleft(row.index)
            self.waiting.insert(0, group)

    def _release_template(self, group: Group) -> None:
        self._release(group, [group.tail])
        group.tail = -1

    def _release(self, group: Group, blocks: list[int]) -> None:
        for block in blocks:
            self.allocator.release(block)
        for node in group.path:
            if self.allocator.release(node.block):
                node.block, node.ready = -1, False

    def _take(self, *, high: bool) -> int:
        block = self.allocator.take_high() if high else self.allocator.take_low()
        if block is None:
            raise RuntimeError("no free block, though the count of free blocks said so")
        return block
