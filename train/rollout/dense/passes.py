"""One pass of the model: which tokens go in, where their keys and values go, and what each of them attends to.

A pass holds one decode token of every live row, then the prefill chunks, all side by side in one sequence without
padding. For the decode tokens the work is laid out by block rather than by row ("entries"):

- every own block in the dense low end of the pool is one entry, multiplied in place with its row's query;
- every stretch of shared prompt blocks is multiplied once with the queries of all rows that share it (cascade
  attention), which gives one entry a row.

`entries` then lists, row by row, what has to be put together, and softmax runs over all entries of a row.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from train.rollout.dense.pool import BLOCK_SIZE, token_slots
from train.rollout.schedule.block_manager import Chunk
from train.rollout.schedule.rows import Group, Row
from train.rollout.schedule.scheduler import Scheduler

# Up to this many (block, row) pairs, padding one tier costs less than the dozen calls a layer of a second tier.
_ONE_TIER = 2048

MASKED = -1e30  # finite, so that a block masked whole gives weight 0 and not NaN


@dataclass(slots=True)
class Tier:
    """Stretches of shared blocks of like size, padded to a common number of rows and blocks.

    `blocks` (stretches, width) and `rows` (stretches, sharers) hold pool blocks and batch rows; `positions`
    (stretches, width * BLOCK_SIZE) the token position of each key, -1 for padding; `padded` says if there is any.
    """

    blocks: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    padded: bool


@dataclass(slots=True)
class Layout:
    """The inputs of decode attention, unchanged while no row joins, leaves or starts a block."""

    low_end: int
    row_of_block: torch.Tensor  # (low_end,) batch row of each own block; 0 for blocks that nobody's row owns
    block_start: torch.Tensor  # (low_end,) position of the block's first token
    last_block: np.ndarray  # (rows,) the block that the newest token is in
    last_start: np.ndarray  # (rows,) position of that block's first token
    entries: torch.Tensor  # (rows, widest) entry numbers, padded with `entry_count`
    bag: torch.Tensor  # the same without padding, row after row
    bag_offsets: torch.Tensor  # (rows,)
    entry_count: int
    tiers: list[Tier]


@dataclass(slots=True)
class Pass:
    """The inputs of one forward of the model."""

    tokens: torch.Tensor  # (tokens,) decode tokens first
    positions: torch.Tensor  # (tokens,)
    logit_index: torch.Tensor  # tokens whose logits are wanted: the decode tokens, then the ends of prefills
    live: np.ndarray  # (rows,) rollout numbers of the decode tokens
    chunks: list[Chunk]
    layout: Layout | None  # None without decode tokens, and where attention reads by table
    table: torch.Tensor  # (rows, blocks) of each decode token's row, in order of position
    unwritten: torch.Tensor  # (low_end, 1, BLOCK_SIZE) added to scores: hides what is not written yet
    write_blocks: np.ndarray  # (tokens,)
    write_offsets: np.ndarray  # (tokens,)

    def slots(self, heads: int, device: torch.device) -> torch.Tensor:
        """Where the tokens' keys and values go in a layer with `heads` key heads."""
        return torch.from_numpy(token_slots(self.write_blocks, self.write_offsets, heads)).to(device)


class PassBuilder:
    """Builds passes; keeps the layout as long as the scheduler's version is the same."""

    def __init__(self, scheduler: Scheduler, device: torch.device, *, by_table: bool = False) -> None:
        self._scheduler = scheduler
        self._device = device
        self._version = -1
        self._live = np.zeros(0, np.int64)
        self._layout: Layout | None = None
        self._table = torch.zeros(0, 0, dtype=torch.int64)
        self._by_table = by_table

    def build(self, chunks: list[Chunk]) -> Pass:
        """A pass of one token for every live row and of `chunks`."""
        scheduler, rows = self._scheduler, self._scheduler.rows
        if self._version != scheduler.version:
            self._version = scheduler.version
            self._live = np.fromiter(scheduler.live, np.int64, len(scheduler.live))
            if self._by_table:
                self._table = self._tensor(self._scheduler.rows.table[self._live])
            else:
                self._layout = self._build_layout() if len(self._live) else None
        live = self._live
        cached = rows.cached[live]
        tokens = [rows.last[live]]
        positions = [cached]
        blocks = [rows.table[live, cached // BLOCK_SIZE]]
        logit_index = list(range(len(live)))
        count = len(live)
        for chunk in chunks:
            span = np.arange(chunk.start, chunk.end)
            tokens.append(np.asarray(chunk.prefill.tokens[chunk.start : chunk.end]))
            positions.append(span)
            blocks.append(np.asarray(chunk.blocks)[span // BLOCK_SIZE])
            count += len(span)
            if chunk.is_last:
                logit_index.append(count - 1)
        all_positions = np.concatenate(positions)
        unwritten = np.zeros((0, BLOCK_SIZE), np.float32)
        if self._layout is not None:
            unwritten = np.zeros((self._layout.low_end, BLOCK_SIZE), np.float32)
            written = (cached - self._layout.last_start)[:, None] >= np.arange(BLOCK_SIZE)  # (rows, BLOCK_SIZE)
            unwritten[self._layout.last_block] = np.where(written, 0.0, MASKED)
        return Pass(
            tokens=self._tensor(np.concatenate(tokens)),
            positions=self._tensor(all_positions),
            logit_index=torch.tensor(logit_index, dtype=torch.int64, device=self._device),
            live=live,
            chunks=chunks,
            layout=self._layout,
            table=self._table,
            unwritten=self._tensor(unwritten).unsqueeze(1),
            write_blocks=np.concatenate(blocks),
            write_offsets=all_positions % BLOCK_SIZE,
        )

    def _build_layout(self) -> Layout:
        scheduler, rows, live = self._scheduler, self._scheduler.rows, self._live
        low_end = scheduler.allocator.low_end
        counts = rows.block_count[live]  # (rows,)
        width = int(counts.max())
        first = rows.own_start[live][:, None] // BLOCK_SIZE
        columns = np.minimum(first + np.arange(width), rows.table.shape[1] - 1)
        table = np.take_along_axis(rows.table[live], columns, 1)  # (rows, width) own blocks
        mine = np.arange(width) < counts[:, None]
        batch = np.arange(len(live))
        row_of_block = np.zeros(low_end, np.int64)
        row_of_block[table[mine]] = np.broadcast_to(batch[:, None], table.shape)[mine]
        starts = rows.own_start[live][:, None] + np.arange(width) * BLOCK_SIZE
        block_start = np.zeros(low_end, np.int64)
        block_start[table[mine]] = starts[mine]

        tiers, tier_entries, entry_count = _build_tiers(scheduler.live, low_end, self._device)
        entries = np.full((len(live), width + tier_entries.shape[1]), entry_count, np.int64)
        entries[:, :width][mine] = table[mine]
        entries[:, width:] = np.where(tier_entries < 0, entry_count, tier_entries)
        used = entries != entry_count
        offsets = np.concatenate([[0], used.sum(1).cumsum()[:-1]])
        return Layout(
            low_end=low_end,
            row_of_block=self._tensor(row_of_block),
            block_start=self._tensor(block_start),
            last_block=table[batch, counts - 1],
            last_start=starts[batch, counts - 1],
            entries=self._tensor(entries),
            bag=self._tensor(entries[used]),
            bag_offsets=self._tensor(offsets),
            entry_count=entry_count,
            tiers=tiers,
        )

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _build_tiers(live: dict[int, Row], first_entry: int, device: torch.device) -> tuple[list[Tier], np.ndarray, int]:
    """The tiers of all shared blocks; (rows, most tiers of a row) entry numbers, -1 for none; the count of entries."""
    stretches = _shared_stretches(live)
    if not stretches:
        return [], np.zeros((len(live), 0), np.int64), first_entry
    widths = np.array([len(blocks) for blocks, _, _ in stretches])
    sharers = np.array([len(rows) for _, rows, _ in stretches])
    if len(stretches) * widths.max() * sharers.max() <= _ONE_TIER:
        members = [list(range(len(stretches)))]
    else:
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, (width, sharing) in enumerate(zip(widths.tolist(), sharers.tolist(), strict=True)):
            by_size[(width - 1).bit_length(), (sharing - 1).bit_length()].append(i)
        members = list(by_size.values())
    most = _most_stretches(stretches, len(live))
    entries = np.full((len(live), most), -1, np.int64)
    used = np.zeros(len(live), np.int64)
    tiers = []
    entry = first_entry
    for member in members:
        block_table = np.zeros((len(member), widths[member].max()), np.int64)
        row_table = np.zeros((len(member), sharers[member].max()), np.int64)
        positions = np.full((len(member), block_table.shape[1] * BLOCK_SIZE), -1, np.int64)
        for i, number in enumerate(member):
            blocks, rows, start = stretches[number]
            block_table[i, : len(blocks)] = blocks
            row_table[i, : len(rows)] = rows
            positions[i, : len(blocks) * BLOCK_SIZE] = np.arange(start, start + len(blocks) * BLOCK_SIZE)
            entries[rows, used[rows]] = np.arange(entry, entry + len(rows))
            used[rows] += 1
            entry += row_table.shape[1]
        tables = [torch.from_numpy(array).to(device) for array in (block_table, row_table, positions)]
        tiers.append(Tier(tables[0], tables[1], tables[2], padded=bool((positions < 0).any())))
    return tiers, entries, entry


def _most_stretches(stretches: list[tuple[list[int], list[int], int]], rows: int) -> int:
    """The most stretches that one row reads."""
    return int(np.bincount(np.concatenate([sharing for _, sharing, _ in stretches]), minlength=rows).max())


def _shared_stretches(live: dict[int, Row]) -> list[tuple[list[int], list[int], int]]:
    """Runs of shared blocks with the same sharers, as (pool blocks, batch rows, position of the first token)."""
    rows_of: dict[Group, list[int]] = defaultdict(list)
    for batch_row, row in enumerate(live.values()):
        if row.group.path:
            rows_of[row.group].append(batch_row)
    groups_of: dict[int, list[Group]] = defaultdict(list)  # by pool block
    depth_of: dict[int, int] = {}
    for group in rows_of:
        for depth, node in enumerate(group.path):
            groups_of[node.block].append(group)
            depth_of[node.block] = depth
    stretches: dict[tuple[int, ...], tuple[list[int], list[int], int]] = {}
    for block, groups in groups_of.items():
        sharers = tuple(id(group) for group in groups)
        if sharers not in stretches:
            rows = [row for group in groups for row in rows_of[group]]
            stretches[sharers] = ([], rows, depth_of[block] * BLOCK_SIZE)
        stretches[sharers][0].append(block)
    return list(stretches.values())
