"""Which rows run, which prompts are prefilled, and which blocks they hold: continuous batching over a paged cache.

Each step is `admit` (fork waiting rollouts off prefilled prompts, start prefills), `grow` (a block for every row whose
last one is full, preempting the youngest where none is left), `next_chunks` (prefill tokens to run beside the decode
tokens), and, after the model ran, `finish` for the rows that stopped. No torch here: the whole of it is tested without
a model.
"""

import numpy as np

from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.block_manager import BlockManager, Chunk, Prefill
from train.rollout.schedule.rows import Group, Row, RowArrays

# Rows finish at different times, so they never all stand at their final length together: half of the expected growth
# is what they need at once when their lengths are spread evenly.
_GROWTH_AT_ONCE = 0.5


class Scheduler(BlockManager):
    """Decides from block counts alone; `rows` is the shared array state that attention reads."""

    def __init__(
        self,
        groups: list[Group],
        rows: RowArrays,
        allocator: BlockAllocator,
        *,
        block_size: int,
        max_rows: int,
        chunk_tokens: int,
        max_new_tokens: int,
        typical_tokens: float,
        idle_chunk_tokens: int = 0,
    ) -> None:
        super().__init__(groups, rows, allocator, block_size)
        self.max_rows = max_rows
        self.chunk_tokens = chunk_tokens
        self.idle_chunk_tokens = max(chunk_tokens, idle_chunk_tokens)
        self.max_new_tokens = max_new_tokens
        self._copies: list[tuple[int, int]] = []
        self._serial = 0
        self._finished, self._finished_tokens = 1.0, typical_tokens

    # ---- admission

    def admit(self) -> list[Row]:
        """Start what fits; returns the rows just forked, which have no token yet."""
        forked: list[Row] = []
        while True:
            forked += self._fork_ready()
            if self._start_one_prefill():
                continue
            if self.live or self.prefills or forked or not self.ready:
                return forked
            self._drop_ready(self.ready[-1])  # nothing runs, and prompts that wait hold all the memory

    def take_copies(self) -> tuple[list[int], list[int]]:
        """Block copies (sources, destinations) to make before the next pass."""
        pairs, self._copies = self._copies, []
        return [source for source, _ in pairs], [destination for _, destination in pairs]

    def _fork_ready(self) -> list[Row]:
        forked = []
        while self.ready and not self.preempted and self._rows_held() < self.max_rows:
            group = self.ready[0]
            if not self._has_room(1, 1):
                break
            block = self.allocator.take_low()
            if block is None:
                break
            row = Row(group.pending.popleft(), group, [block], self._next_serial())
            for node in group.path:
                self.allocator.share(node.block)
            self._copies.append((group.tail, block))
            self._join(row, len(group.prompt))
            forked.append(row)
            if not group.pending:
                self._release_template(group)
                self.ready.pop(0)
        return forked

    def _start_one_prefill(self) -> bool:
        """Start the prefill of a preempted row or of the next prompt, if there is room; False if nothing started."""
        if self.preempted:
            if self._rows_held() >= self.max_rows:
                return False
            row = self.preempted[0]
            tokens = row.group.prompt + self.rows.completion(row.index)[:-1]
            if not self._start_prefill(row.group, row, tokens):
                return False
            self.preempted.pop(0)
            return True
        if not self.waiting or self.ready or self._rows_held() + self._rows_planned() >= self.max_rows:
            return False
        group = self.waiting[0]
        row_alone = Row(group.pending[0], group) if len(group.pending) == 1 else None
        if not self._start_prefill(group, row_alone, group.prompt):
            return False
        if row_alone is not None:
            group.pending.popleft()
        self.waiting.pop(0)
        return True

    def _start_prefill(self, group: Group, row: Row | None, tokens: list[int]) -> bool:
        size = self.block_size
        inherited = next((i for i, node in enumerate(group.path) if node.block < 0), len(group.path))
        own = -(-(len(tokens) - len(group.path) * size) // size)
        blocks = len(group.path) - inherited + own
        if blocks > self.allocator.free or not self._has_room(blocks, 1 + self._rows_planned()):
            return False
        for node in group.path[:inherited]:
            self.allocator.share(node.block)
        for node in group.path[inherited:]:
            node.block = self._take(high=True)
        if row is None:
            group.tail = self._take(high=True)
        else:
            row.blocks = [self._take(high=False) for _ in range(own)]
        self.prefills.append(Prefill(group, row, tokens, inherited * size, inherited))
        return True

    def _has_room(self, blocks: int, newcomers: int) -> bool:
        """Whether `blocks` more, and what the rows running and `newcomers` are expected to grow by, fit in the pool.

        Without this, rows would be admitted up to the last block and preempted a step later, again and again.
        """
        if not self.live:
            return True
        lengths = self.rows.drawn[self.live_rows()]
        typical = self._finished_tokens / self._finished
        final = np.minimum(np.maximum(typical, lengths + self.block_size), self.max_new_tokens)
        growth = float((final - lengths).sum()) + typical * newcomers
        return blocks + _GROWTH_AT_ONCE * growth / self.block_size <= self.allocator.free

    # ---- running

    def grow(self) -> np.ndarray:
        """Give every live row room for its next token, preempting the youngest rows where blocks run out.

        Returns the rows that got a block; some of them may have been preempted since.
        """
        full = self._full()
        if len(full) <= self.allocator.free:
            if len(full):
                self._add_blocks(full, [self._take(high=False) for _ in range(len(full))])
            return full
        # Oldest first, so that the youngest is the one to go short.
        for row in sorted((self.live[index] for index in full.tolist()), key=lambda row: row.serial):
            if row.index in self.live:
                self._grow(row)
        return full

    def blocks_wanted(self) -> int:
        """The number of blocks that `grow` would take now."""
        return len(self._full())

    def _full(self) -> np.ndarray:
        """The live rows whose next token needs a new block."""
        live, rows = self.live_rows(), self.rows
        return live[(rows.cached[live] - rows.own_start[live]) // self.block_size >= rows.block_count[live]]

    def _grow(self, row: Row) -> None:
        while (block := self.allocator.take_low()) is None:
            self._reclaim()
            if row.index not in self.live:
                return  # it was the youngest itself
        self._add_blocks(np.array([row.index]), [block])

    def next_chunks(self) -> list[Chunk]:
        """The prefill chunks of this step, oldest prefill first.

        At most `chunk_tokens` tokens in all beside rows that decode, and `idle_chunk_tokens` where none does.
        """
        chunks: list[Chunk] = []
        budget = self.chunk_tokens if self.live else self.idle_chunk_tokens
        for prefill in self.prefills:
            path = prefill.group.path
            if not budget:
                break
            if not all(node.ready for node in path[: prefill.inherited]):
                continue
            start, end = prefill.done, min(len(prefill.tokens), prefill.done + budget)
            budget -= end - start
            prefill.done = end
            for node in path[prefill.inherited : end // self.block_size]:
                node.ready = True  # every write of a pass comes before its reads, so a later chunk may read it now
            own = [prefill.group.tail] if prefill.row is None else prefill.row.blocks
            blocks = [node.block for node in path] + own
            chunks.append(Chunk(prefill, start, end, blocks[: -(-end // self.block_size)]))
        return chunks

    def complete(self, chunk: Chunk) -> Row | None:
        """Mark a prefill as complete; returns the row that may now decode, if it belongs to one row."""
        self.prefills.remove(chunk.prefill)
        row = chunk.prefill.row
        if row is None:
            self.ready.append(chunk.prefill.group)
            return None
        if row.serial < 0:
            row.serial = self._next_serial()
        self._join(row, len(chunk.prefill.tokens))
        return row

    def finish(self, row: Row) -> None:
        """Release a finished row's blocks."""
        self._finished += 1
        self._finished_tokens += float(self.rows.drawn[row.index])
        self._leave(row)

    @property
    def has_work(self) -> bool:
        """Whether any rollout is unfinished."""
        return bool(self.live or self.prefills or self.ready or self.preempted or self.waiting)

    def compact(self) -> tuple[list[int], list[int]]:
        """Move the highest own blocks into the lowest free ones where the low end has become sparse.

        Returns the copies (sources, destinations) to make. Attention reads the low end whole, so holes cost time.
        """
        allocator = self.allocator
        if allocator.low_end * 0.75 <= allocator.low_used + 16:
            return [], []
        target = allocator.low_used
        sources: list[int] = []
        destinations: list[int] = []
        for row in self.live.values():
            for i, block in enumerate(row.blocks):
                if block < target:
                    continue
                lower = allocator.take_low()
                if lower is None:
                    return sources, destinations
                if lower >= block:
                    allocator.release(lower)
                    continue
                allocator.release(block)
                row.blocks[i] = lower
                self.rows.table[row.index, len(row.group.path) + i] = lower
                sources.append(block)
                destinations.append(lower)
        self.version += bool(sources)
        return sources, destinations

    def _rows_held(self) -> int:
        return len(self.live) + sum(prefill.row is not None for prefill in self.prefills)

    def _rows_planned(self) -> int:
        """Rollouts still to be forked from prompts that are prefilled or in prefill."""
        prefilling = sum(len(prefill.group.pending) for prefill in self.prefills if prefill.row is None)
        return prefilling + sum(len(group.pending) for group in self.ready)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial
