"""Steps of a run over pages: the host plans a step while the device still runs the last one.

A step's tokens never pass through the host before the next step: drawing, steering and stopping happen on the device
(`step.py`). The host reads them one step late, from a copy that it never has to wait long for. So a row that has
ended runs one step more, in which it changes nothing; its pages are only given to others in steps queued after that.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from train.rollout.dense.pool import LayerShape
from train.rollout.generation import Room, Run, first_logits
from train.rollout.interface import Rollout, Sampling
from train.rollout.limits import HEADROOM, IDLE_CHUNK_TOKENS, Limits
from train.rollout.memory import memory_budget
from train.rollout.paged.decoder import Capacity, PagedDecoder
from train.rollout.paged.forwards import Forward
from train.rollout.paged.graphs import power_of_two
from train.rollout.paged.pool import page_bytes
from train.rollout.paged.step import CLOSED, FINITE, FORCED, RUNNING, STOPPED, Outputs, read_outputs
from train.rollout.paged.transfer import Download, upload
from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.block_manager import Chunk
from train.rollout.schedule.lengths import LengthMemory
from train.rollout.schedule.requests import Request
from train.rollout.schedule.rows import Group, Row
from train.rollout.steering import thinks_at_end

_NOBODY = -1  # the rollout of a token that nobody waits for any more


class Keeper(Protocol):
    """What an engine keeps between calls: its decoder, and the forward that the decoder runs."""

    model: torch.nn.Module
    layers: list[LayerShape]
    limits: Limits
    lengths: LengthMemory
    decoder: PagedDecoder | None
    forward: Forward | None

    def drop_pool(self) -> None:
        """Give the decoder's pages and graphs back to the device."""


class PagedRun(Run):
    """A call on the decoder that the engine keeps, or on a new one where that is too small."""

    def __init__(self, engine: Keeper, request: Request, page_tokens: int, room: Room | None = None) -> None:
        super().__init__(engine.model, engine.layers, engine.limits, engine.lengths, request, page_tokens, room)
        self.engine = engine
        sampling = request.sampling
        self.decoder = engine.decoder = self._decoder()
        self.decoder.forward.refresh()
        self.decoder.graphs.validate(self.decoder.forward)
        self._captured_before = self.decoder.graphs.captured
        allocator = BlockAllocator(self.decoder.capacity.pages)
        allocator.take_low()  # SCRATCH_PAGE
        self.schedule_with(allocator, IDLE_CHUNK_TOKENS if self.limits.own_kernels else 0)
        self._live = np.zeros(0, np.int64)  # rollouts in the decoder's batch, as of `joined` of the scheduler
        self._joined = -1
        self._place = np.zeros(len(self.rollouts), np.int64)  # where in the batch each of them is
        self._kinds: list[tuple[Sampling, Any]] = []
        self._in_flight: list[tuple[np.ndarray, Download]] = []
        self._forced = np.zeros(self.rows.tokens.shape, bool)
        lengths, opened = np.zeros(len(self.rollouts), np.int64), np.zeros(len(self.rollouts), bool)
        for group in self.groups:
            lengths[group.pending] = len(group.prompt)
            opened[group.pending] = sampling.thinking is not None and thinks_at_end(group.prompt, sampling.thinking)
        self.decoder.state.start(lengths, self.rows.keys, sampling.max_new_tokens, opened)

    def blocks_of_use(self, limit: int) -> int:
        """As for every run; on our own kernels, pages for the lengths that are expected, not for the longest."""
        most = super().blocks_of_use(limit)
        if not self.limits.own_kernels:
            return most
        expected = min(self.sampling.max_new_tokens, HEADROOM * self.room.typical)
        row = -(-int(self.room.longest - self.sampling.max_new_tokens + expected) // self.block_size) + 1
        rows = min(self.limits.max_rows, len(self.rollouts))
        blocks = row * rows + self.room.prompt_tokens // self.block_size
        return min(most, max(blocks, self.row_blocks + 1))

    def _decoder(self) -> PagedDecoder:
        """The engine's decoder if it holds this call, else a larger one."""
        engine, old = self.engine, self.engine.decoder
        if old is not None and not (
            old.layers == engine.layers and old.device == self.device and old.forward is engine.forward
        ):
            old = None
        if old is not None:
            pages = self.blocks_of_use(old.page_limit - 1) + 1
            need = Capacity(pages, self.row_blocks, len(self.rollouts), self.limits.max_rows)
            if old.capacity.holds(need):
                return old
        old_capacity = Capacity(0, 0, 0, 0) if old is None else old.capacity
        old = None
        engine.drop_pool()  # before the new one takes its memory
        assert engine.forward is not None
        budget = memory_budget(self.limits.cache_gib, self.device)
        if self.limits.cache_gib is not None:  # else the shadow is out of what is free already
            budget -= engine.forward.bytes
        limit = budget // page_bytes(engine.layers, self.block_size)
        # Rounded up, and never less than before, so that calls of slightly different size share the graphs.
        capacity = Capacity(
            pages=min(limit, self._rounded(max(self.blocks_of_use(limit - 1) + 1, old_capacity.pages))),
            row_pages=-(-max(self.row_blocks, old_capacity.row_pages) // 4) * 4,
            rollouts=power_of_two(max(len(self.rollouts), old_capacity.rollouts)),
            rows=self.limits.max_rows,
        )
        return PagedDecoder(
            engine.forward,
            engine.layers,
            capacity,
            limit,
            self.block_size,
            self.device,
            prefill_tokens=max(self.limits.chunk_tokens, IDLE_CHUNK_TOKENS),
            cuda_graphs=self.limits.cuda_graphs,
        )

    def _rounded(self, pages: int) -> int:
        """`pages` and up to an eighth more, or up to as many again where pages are not planned by expected lengths."""
        step = max(1, power_of_two(pages) // 16) if self.limits.own_kernels else power_of_two(pages)
        return -(-pages // step) * step

    def step(self) -> list[tuple[int, Rollout]]:
        """See `Run.step`. Queues a step, then takes in what the one before it gave."""
        scheduler = self.scheduler
        arrivals, self._in_flight = self._in_flight, []
        results = []
        self._start(scheduler.admit())
        self.decoder.copy_pages(*scheduler.take_copies())
        if scheduler.blocks_wanted() > self.allocator.free:
            # Somebody will be preempted, unless somebody has ended: know who, and every token of the one who goes.
            results += self._take_in(arrivals + self._in_flight)
            arrivals, self._in_flight = [], []
        grown = scheduler.grow()
        chunks = scheduler.next_chunks()
        if scheduler.live:
            self._decode(grown)
        if chunks:
            self._prefill(chunks)
        results += self._take_in(arrivals)
        self.stats.preemptions = scheduler.preemptions
        self.stats.peak_blocks = self.allocator.peak
        self.stats.captured_graphs = self.decoder.graphs.captured - self._captured_before
        return results

    def _start(self, forked: list[Row]) -> None:
        """Draw the first token of rows just forked off their prompts."""
        if forked:
            self._draw(np.array([row.index for row in forked]), first_logits([row.group for row in forked]))

    def _decode(self, grown: np.ndarray) -> None:
        scheduler = self.scheduler
        moved = self._joined != scheduler.joined
        if moved:
            self._joined = scheduler.joined
            self._live = scheduler.live_rows()
            self._place[self._live] = np.arange(len(self._live))
            self._kinds = self.by_sampling(self._live)
        if len(self._kinds) == 1:
            if moved or (len(grown) and self.decoder.forward.gathers):  # which reads no wider than the rows are
                self.decoder.fill(self._live, self.rows)
            elif len(grown):
                self.decoder.extend(self._place[grown], self.rows)
        for sampling, places in self._kinds:  # one forward each, since a captured step draws in one way alone
            rows = self._live[places]
            if len(self._kinds) > 1:
                self.decoder.fill(rows, self.rows)
            outputs, replayed = self.decoder.decode(sampling)
            self._in_flight.append((rows, Download(outputs[: len(rows)])))
            self.stats.replayed_steps += replayed
        self.rows.cached[self._live] += 1
        self.stats.steps += 1
        self.stats.decode_rows += len(self._live)

    def _prefill(self, chunks: list[Chunk]) -> None:
        self.stats.prefill_tokens += sum(chunk.end - chunk.start for chunk in chunks)
        logits, replayed = self.decoder.prefill(chunks)
        self.stats.prefills += 1
        self.stats.replayed_prefills += replayed
        started, first = self.complete(chunks, logits)
        if started:
            self._draw(np.array(started), torch.cat(first))

    def _draw(self, rows: np.ndarray, logits: torch.Tensor) -> None:
        """Draw the first token of `rows` from `logits` (rows, vocab)."""
        for sampling, places in self.by_sampling(rows):
            rules, indices = self.decoder.rules_of(sampling), upload(rows[places], self.device)
            outputs = self.decoder.forward.draw(self.decoder.state, indices, logits[places], sampling, rules)
            self._in_flight.append((rows[places], Download(outputs)))

    def _begin(self, rows: Sequence[int], prompt: list[int], sampling: Sampling) -> None:
        opened = sampling.thinking is not None and thinks_at_end(prompt, sampling.thinking)
        keys = self.rows.keys[np.asarray(rows)]
        self.decoder.state.begin(np.asarray(rows), len(prompt), keys, sampling.max_new_tokens, opened)
        self._forced[np.asarray(rows)] = False

    def leave(self, group: Group, rows: Sequence[int]) -> None:
        """See `Run.leave`. Tokens still on their way to rows that nobody waits for any more are dropped."""
        super().leave(group, rows)
        self._in_flight = [
            (np.where(np.isin(flying, np.asarray(rows)), _NOBODY, flying), download)
            for flying, download in self._in_flight
        ]

    def _take_in(self, arrivals: list[tuple[np.ndarray, Download]]) -> list[tuple[int, Rollout]]:
        """Note the tokens of earlier steps, and end the rows that are done."""
        results = []
        for rows, download in arrivals:
            outputs = read_outputs(download.wait())
            running = outputs.has(RUNNING) & (rows != _NOBODY)
            rows, outputs = rows[running], outputs.of(running)
            if not outputs.has(FINITE).all():
                self.decoder.pool.clear()
                raise self.not_finite(rows[~outputs.has(FINITE)].tolist())
            self._forced[rows, self.rows.drawn[rows]] = outputs.has(FORCED)
            self.rows.append(rows, outputs.tokens, outputs.logprobs)
            self.stats.new_tokens += len(rows)
            done = outputs.has(STOPPED) | (self.rows.drawn[rows] >= self.rows.limit[rows])
            results += self._end(rows[done], outputs.of(done))
        return results

    def _end(self, rows: np.ndarray, outputs: Outputs) -> list[tuple[int, Rollout]]:
        results = []
        for i, row in enumerate(rows.tolist()):
            forced = self._forced[row, : self.rows.drawn[row]]
            results.append(
                self.end(
                    row,
                    stopped=bool(outputs.has(STOPPED)[i]),
                    closed=bool(outputs.has(CLOSED)[i]),
                    thinking_tokens=int(outputs.thinking_tokens[i]),
                    forced=forced.tolist() if forced.any() else None,
                )
            )
        return results
