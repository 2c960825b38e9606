"""Steps of a run over the dense pool: one forward for decode tokens and prefill chunks together, drawn at once."""

from collections.abc import Sequence

import numpy as np
import torch

from train.rollout.counter import uniforms
from train.rollout.dense.attention import PassAttention
from train.rollout.dense.passes import PassBuilder
from train.rollout.dense.pool import BLOCK_SIZE, KeyValuePool, LayerShape, bytes_per_block
from train.rollout.generation import Room, Run, first_logits
from train.rollout.interface import Rollout, Sampling
from train.rollout.limits import Limits
from train.rollout.memory import working_bytes
from train.rollout.native.attention import NativeAttention, runs_natively
from train.rollout.sampler import NonFiniteLogits, Sampler
from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.block_manager import Chunk
from train.rollout.schedule.lengths import LengthMemory
from train.rollout.schedule.requests import Request
from train.rollout.schedule.rows import Row
from train.rollout.steering import Steering

# The largest share of the engine's memory for logits and activations: a tight cache runs few rows, which need less.
MOST_TO_WORK_IN = 0.25


class DenseRun(Run):
    """A call with its own pool and buffers, of `pool_bytes` together; `natively` uses the compiled kernels."""

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Sequence[LayerShape],
        limits: Limits,
        lengths: LengthMemory,
        request: Request,
        pool_bytes: int,
        *,
        natively: bool,
        room: Room | None = None,
    ) -> None:
        super().__init__(model, layers, limits, lengths, request, BLOCK_SIZE, room)
        rows, prefilled = min(limits.max_rows, len(self.rollouts)), min(limits.chunk_tokens, self.room.prompt_tokens)
        working = working_bytes(model, rows, prefilled)
        rest = pool_bytes - min(working, int(MOST_TO_WORK_IN * pool_bytes))
        self.schedule_with(BlockAllocator(self.blocks_of_use(rest // bytes_per_block(layers))))
        self.pool = KeyValuePool(layers, self.allocator.count, self.device)
        native = natively and runs_natively(layers, self.device)
        self.attention = NativeAttention if native else PassAttention
        self.builder = PassBuilder(self.scheduler, self.device, by_table=native)
        self.sampler = Sampler()
        self.steering = Steering(self.sampling, self.rows, {row: g.prompt for g in self.groups for row in g.pending})
        self._stop = np.asarray(self.sampling.stop_ids, np.int64)

    def step(self) -> list[tuple[int, Rollout]]:
        """See `Run.step`."""
        scheduler = self.scheduler
        results = self._start(scheduler.admit())
        self.pool.copy(*scheduler.take_copies())
        scheduler.grow()
        if self.attention is PassAttention:  # reads the low end of the pool whole
            self.pool.copy(*scheduler.compact())
        chunks = scheduler.next_chunks()
        if scheduler.live or chunks:
            results += self._forward(chunks)
        self.stats.preemptions = scheduler.preemptions
        self.stats.peak_blocks = self.allocator.peak
        return results

    def _start(self, forked: list[Row]) -> list[tuple[int, Rollout]]:
        """Draw the first token of rows just forked off their prompts."""
        if not forked:
            return []
        return self._draw(np.array([row.index for row in forked]), first_logits([row.group for row in forked]))

    def _forward(self, chunks: list[Chunk]) -> list[tuple[int, Rollout]]:
        this_pass = self.builder.build(chunks)
        output = self.model(
            input_ids=this_pass.tokens.unsqueeze(0),
            position_ids=this_pass.positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=this_pass.logit_index,
            rollout_pass=self.attention(self.pool, this_pass),
        )
        logits = output.logits[0]  # (rows + finished prefills, vocab)
        live = this_pass.live
        self.rows.cached[live] += 1
        self.stats.steps += 1
        self.stats.decode_rows += len(live)
        self.stats.prefill_tokens += sum(chunk.end - chunk.start for chunk in chunks)
        started, first = self.complete(chunks, logits[len(live) :])
        results = self._draw(live, logits[: len(live)]) if len(live) else []
        if started:
            results += self._draw(np.array(started), torch.cat(first))
        return results

    def _draw(self, rows: np.ndarray, logits: torch.Tensor) -> list[tuple[int, Rollout]]:
        """Draw a token for each of `rows` from `logits` (rows, vocab), and end the rows that are done."""
        at = self.rows.drawn[rows]
        numbers = uniforms(torch.from_numpy(self.rows.keys[rows]), torch.from_numpy(at)).to(self.device)
        results = []
        for sampling, places in self.by_sampling(rows):
            results += self._draw_alike(rows[places], logits[places], numbers[places], sampling)
        return results

    def _draw_alike(
        self, rows: np.ndarray, logits: torch.Tensor, numbers: torch.Tensor, sampling: Sampling
    ) -> list[tuple[int, Rollout]]:
        try:
            draw = self.sampler.draw(logits, sampling, numbers)
        except NonFiniteLogits as error:
            raise self.not_finite(rows[error.rows].tolist()) from error
        tokens = self.steering.steer(rows, draw.tokens.cpu().numpy())
        logprobs = draw.logprobs(torch.from_numpy(tokens).to(self.device))
        self.rows.append(rows, tokens, logprobs.cpu().numpy())
        self.stats.new_tokens += len(rows)
        stopped = np.isin(tokens, self._stop)
        done = stopped | (self.rows.drawn[rows] >= self.rows.limit[rows])
        return [self._end(row, bool(stop)) for row, stop in zip(rows[done].tolist(), stopped[done], strict=True)]

    def _begin(self, rows: Sequence[int], prompt: list[int], sampling: Sampling) -> None:
        budget = None if sampling.thinking is None else sampling.thinking.budget
        for row in rows:
            self.steering.begin(row, prompt, budget)

    def _end(self, row: int, stopped: bool) -> tuple[int, Rollout]:
        return self.end(
            row,
            stopped=stopped,
            closed=self.steering.was_closed(row),
            thinking_tokens=self.steering.thinking_tokens(row),
            forced=self.steering.forced(row),
        )
