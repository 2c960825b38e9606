"""Hands out the blocks of the key-value pool (pages, on CUDA), and counts how many sequences hold each.

Blocks that one row alone writes are taken from the low end and shared prompt blocks from the high end. Attention can
then read the low end in place, as one dense range, instead of gathering each row's blocks every step.
"""

import heapq


class BlockAllocator:
    """Hands out block numbers 0 .. count-1 with reference counts."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.references = [0] * count
        self._is_low = [False] * count
        self._lowest = list(range(count))
        self._highest = [-block for block in reversed(range(count))]
        self._free = count
        self._top = 0
        self._low_used = 0
        self.peak = 0

    @property
    def free(self) -> int:
        """The number of free blocks."""
        return self._free

    @property
    def low_used(self) -> int:
        """The number of low blocks in use."""
        return self._low_used

    @property
    def low_end(self) -> int:
        """One past the highest low block in use: every low block is in [0, low_end)."""
        while self._top and not self._is_low[self._top - 1]:
            self._top -= 1
        return self._top

    def take_low(self) -> int | None:
        """The lowest free block with one reference, or None where there is none."""
        block = self._take(self._lowest, 1)
        if block is not None:
            self._is_low[block] = True
            self._low_used += 1
            self._top = max(self._top, block + 1)
        return block

    def take_high(self) -> int | None:
        """The highest free block with one reference, or None where there is none."""
        return self._take(self._highest, -1)

    def share(self, block: int) -> None:
        """Add a reference to a block in use."""
        if not self.references[block]:
            raise ValueError(f"block {block} is free and cannot be shared.")
        self.references[block] += 1

    def release(self, block: int) -> bool:
        """Drop a reference; True where it was the last and the block is free again."""
        if not self.references[block]:
            raise ValueError(f"block {block} is free already.")
        self.references[block] -= 1
        if self.references[block]:
            return False
        self._free += 1
        if self._is_low[block]:
            self._is_low[block] = False
            self._low_used -= 1
        self._push(self._lowest, block)
        self._push(self._highest, -block)
        return True

    def _push(self, heap: list[int], entry: int) -> None:
        # Entries that the other end took remain here, so a heap only used from the other end would grow for ever.
        if len(heap) > 2 * self.count + 64:
            heap[:] = sorted({entry for entry in heap if not self.references[abs(entry)]})
        heapq.heappush(heap, entry)

    def _take(self, heap: list[int], sign: int) -> int | None:
        # A block taken from one end stays in the other end's heap until it surfaces there: skip it then.
        while heap:
            block = sign * heapq.heappop(heap)
            if not self.references[block]:
                self.references[block] = 1
                self._free -= 1
                self.peak = max(self.peak, self.count - self._free)
                return block
        return None
