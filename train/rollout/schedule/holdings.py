"""Which rows, prompts and prefills hold which blocks, and who gives way where blocks run out.

No torch here, like in `scheduler.py`, which decides what runs.
"""

from dataclasses import dataclass

from train.rollout.schedule.blocks import BlockAllocator
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


class Holdings:
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

    def _join(self, row: Row, cached: int) -> None:
        rows, index = self.rows, row.index
        rows.cached[index] = cached
        rows.own_start[index] = len(row.group.path) * self.block_size
        rows.block_count[index] = len(row.blocks)
        blocks = [node.block for node in row.group.path] + row.blocks
        rows.table[index, : len(blocks)] = blocks
        self.live[index] = row
        self.version += 1

    def _leave(self, row: Row) -> None:
        del self.live[row.index]
        self._release(row.group, row.blocks)
        self.version += 1

    def _add_block(self, row: Row, block: int) -> None:
        self.rows.table[row.index, len(row.group.path) + len(row.blocks)] = block
        row.blocks.append(block)
        self.rows.block_count[row.index] = len(row.blocks)
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
