"""Properties of the allocator and the scheduler, without a model."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.prefix import PrefixTree, shared_path
from train.rollout.schedule.rows import Group, RowArrays
from train.rollout.schedule.scheduler import Scheduler

SIZE = 4


@given(
    st.integers(1, 12), st.lists(st.tuples(st.sampled_from(["low", "high", "share", "release"]), st.integers(0, 50)))
)
def test_allocator_never_hands_out_a_block_in_use_and_counts_right(count: int, actions: list[tuple[str, int]]) -> None:
    allocator, held = BlockAllocator(count), []
    low: set[int] = set()
    for action, pick in actions:
        if action in ("low", "high"):
            block = allocator.take_low() if action == "low" else allocator.take_high()
            assert (block is None) == (len(set(held)) == count)
            if block is not None:
                free = set(range(count)) - set(held)
                assert block == (min(free) if action == "low" else max(free))
                held.append(block)
                if action == "low":
                    low.add(block)
        elif held and action == "share":
            allocator.share(held[pick % len(held)])
            held.append(held[pick % len(held)])
        elif held:
            block = held.pop(pick % len(held))
            assert allocator.release(block) == (block not in held)
            if block not in held:
                low.discard(block)
        assert allocator.free == count - len(set(held))
        assert allocator.low_end == max(low, default=-1) + 1
        assert allocator.low_used == len(low)


def test_allocator_refuses_to_share_or_release_a_free_block() -> None:
    allocator = BlockAllocator(2)
    with pytest.raises(ValueError, match="block 0 is free"):
        allocator.share(0)
    with pytest.raises(ValueError, match="block 1 is free already"):
        allocator.release(1)


def test_allocator_heaps_do_not_grow_without_end() -> None:
    allocator = BlockAllocator(8)
    for _ in range(2000):
        allocator.release(allocator.take_low() or 0)
    assert len(allocator._highest) < 200


prompts_strategy = st.lists(
    st.tuples(st.sampled_from([0, 4, 9]), st.integers(1, 14), st.integers(1, 5)), min_size=1, max_size=7
)


def build(
    prompts: list[tuple[int, int, int]], blocks: int, max_rows: int, chunk: int, limit: int, typical: float = 6.0
) -> tuple[Scheduler, list[Group]]:
    """A scheduler over prompts of (tokens of a common start, tokens of its own, samples)."""
    tree, groups, total = PrefixTree(SIZE), [], 0
    tokens = [[1] * common + [10 + i] * own for i, (common, own, _) in enumerate(prompts)]
    paths = [tree.add(prompt, samples) for prompt, (_, _, samples) in zip(tokens, prompts, strict=True)]
    for prompt, path, (_, _, samples) in zip(tokens, paths, prompts, strict=True):
        groups.append(Group(prompt, shared_path(path), deque(range(total, total + samples))))
        total += samples
    rows = RowArrays(total, limit, 64)
    scheduler = Scheduler(
        groups,
        rows,
        BlockAllocator(blocks),
        block_size=SIZE,
        max_rows=max_rows,
        chunk_tokens=chunk,
        max_new_tokens=limit,
        typical_tokens=typical,
    )
    return scheduler, groups


@settings(max_examples=150, deadline=None)
@given(prompts_strategy, st.integers(0, 8), st.integers(1, 9), st.sampled_from([1, 3, 50]), st.data())
def test_every_rollout_ends_with_the_right_cache_and_all_blocks_come_back(
    prompts: list[tuple[int, int, int]], spare: int, max_rows: int, chunk: int, data: st.DataObject
) -> None:
    limit = 24
    longest = max(common + own for common, own, _ in prompts)
    blocks = -(-(longest + limit) // SIZE) + 1 + spare
    # Expecting 1 token a rollout overcommits the pool, so that rows are preempted.
    scheduler, groups = build(prompts, blocks, max_rows, chunk, limit, data.draw(st.sampled_from([1.0, 24.0])))
    rows, allocator = scheduler.rows, scheduler.allocator
    total = len(rows.drawn)
    lengths = data.draw(st.lists(st.integers(1, limit), min_size=total, max_size=total))
    pool: dict[tuple[int, int], object] = {}  # (block, offset) -> the token history written there
    prompt_of = {index: group.prompt for group in groups for index in group.pending}
    done: list[int] = []

    def history(index: int, end: int) -> tuple[int, ...]:
        return tuple((prompt_of[index] + rows.completion(index))[:end])

    def advance(index: int) -> None:
        rows.append(np.array([index]), np.array([1000 + index]), np.zeros(1))
        if rows.drawn[index] == lengths[index]:
            scheduler.finish(scheduler.live[index])
            done.append(index)

    for _ in range(5000):
        if not scheduler.has_work:
            break
        for row in scheduler.admit():
            advance(row.index)
        copy(pool, *scheduler.take_copies())
        held = rows.block_count.copy()
        grown = set(scheduler.grow().tolist())
        assert set(np.flatnonzero(rows.block_count > held)) & set(scheduler.live) == grown & set(scheduler.live)
        copy(pool, *scheduler.compact())
        assert len(scheduler.live) <= max_rows
        chunks = scheduler.next_chunks()
        for chunk_ in chunks:
            for position in range(chunk_.start, chunk_.end):
                place = (chunk_.blocks[position // SIZE], position % SIZE)
                pool[place] = tuple(chunk_.prefill.tokens[: position + 1])
        live = list(scheduler.live)
        for index in live:
            position = rows.cached[index]
            pool[rows.table[index, position // SIZE], position % SIZE] = history(index, position + 1)
            rows.cached[index] += 1
            row = scheduler.live[index]
            table = [node.block for node in row.group.path] + row.blocks
            assert rows.table[index, : len(table)].tolist() == table
            for at in range(position + 1):
                assert pool[table[at // SIZE], at % SIZE] == history(index, at + 1)
        for chunk_ in chunks:
            if chunk_.is_last:
                row = chunk_.prefill.row
                resumed = row is not None and row.serial >= 0
                scheduler.complete(chunk_)
                if row is not None and not resumed:
                    advance(row.index)
        for index in live:
            advance(index)
    assert sorted(done) == list(range(total))
    assert allocator.free == allocator.count
    assert allocator.peak <= blocks


def copy(pool: dict[tuple[int, int], object], sources: list[int], destinations: list[int]) -> None:
    """The pool's block copy: all sources are read before any destination is written."""
    read = [[pool.get((source, offset)) for offset in range(SIZE)] for source in sources]
    for destination, tokens in zip(destinations, read, strict=True):
        for offset, value in enumerate(tokens):
            pool[destination, offset] = value


def test_prompts_expected_to_be_longest_start_first_and_unknown_ones_before_them() -> None:
    scheduler, groups = build([(0, 3, 1)] * 4, 50, 8, 50, 12)
    lengths = [5.0, None, 9.0, 1.0]
    for group, expected in zip(groups, lengths, strict=True):
        group.expected = expected
    again = Scheduler(
        groups,
        scheduler.rows,
        scheduler.allocator,
        block_size=SIZE,
        max_rows=8,
        chunk_tokens=50,
        max_new_tokens=12,
        typical_tokens=6,
    )
    assert [groups.index(group) for group in again.waiting] == [1, 2, 0, 3]


def test_a_prefix_shared_by_prompts_is_shared_and_the_last_token_never_is() -> None:
    tree = PrefixTree(SIZE)
    long, short, other = tree.add([1] * 8 + [2], 1), tree.add([1] * 8, 1), tree.add([3] * 9, 1)
    assert len(long) == 2 and len(short) == 1
    assert shared_path(long) == [short[0]]
    assert shared_path(other) == []
