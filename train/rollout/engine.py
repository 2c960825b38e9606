"""The rollout engine: schedule, run the model, draw - until every rollout has ended."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from train.rollout.attention import PassAttention
from train.rollout.blocks import BlockAllocator
from train.rollout.counter import problem_key, row_key, uniforms
from train.rollout.interface import FinishReason, Rollout, Sampling
from train.rollout.lengths import LengthMemory
from train.rollout.memory import block_limit
from train.rollout.module_state import borrowed
from train.rollout.passes import PassBuilder
from train.rollout.pool import BLOCK_SIZE, KeyValuePool
from train.rollout.prefix import PrefixTree, shared_path
from train.rollout.requests import check_request, distinct_prompts, vocabulary_size
from train.rollout.rows import Group, Row, RowArrays
from train.rollout.sampler import NonFiniteLogits, Sampler
from train.rollout.scheduler import Chunk, Scheduler
from train.rollout.steering import Steering
from train.rollout.support import probe, text_config


@dataclass(slots=True)
class RolloutStats:
    """What one `generate` call did. `decode_rows / steps` is the mean running batch."""

    seconds: float = 0.0
    steps: int = 0
    decode_rows: int = 0
    prefill_tokens: int = 0
    new_tokens: int = 0
    preemptions: int = 0
    peak_blocks: int = 0
    block_limit: int = 0


class RolloutEngine:
    """Samples from `model` in place: no copy of the weights, so nothing to synchronise between optimiser steps.

    `cache_gib` limits the key-value cache (None: half of the free memory at each call), `max_rows` the rollouts that
    run at once, and `chunk_tokens` the prompt tokens prefilled beside one decode step. Raises UnsupportedModel, by
    name, for a model that it cannot run.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        cache_gib: float | None = None,
        max_rows: int = 256,
        chunk_tokens: int = 512,
        lengths: LengthMemory | None = None,
    ) -> None:
        if max_rows < 1 or chunk_tokens < 1:
            raise ValueError(f"max_rows is {max_rows} and chunk_tokens is {chunk_tokens}; each must be at least 1.")
        self.model = model
        self.cache_gib = cache_gib
        self.max_rows = max_rows
        self.chunk_tokens = chunk_tokens
        self.layers = probe(model)  # again at every call: autocast around a call changes what the layers keep
        self.vocabulary = vocabulary_size(model)
        self.stats = RolloutStats()
        self.lengths = lengths or LengthMemory()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
        *,
        problems: Sequence[int] | None = None,
        sample_numbers: Sequence[int] | None = None,
        step: int = 0,
        on_rollout: Callable[[int, Rollout], None] | None = None,
    ) -> list[Rollout]:
        """Draw `samples_per_prompt` completions of each prompt, in the order of `prompts` (see `RolloutBackend`).

        The random numbers of a rollout depend on `sampling.seed`, `step`, its problem and its sample number alone.
        `problems` gives each prompt's number; by default it is a hash of the prompt's tokens. A prompt that stands
        in `prompts` k times is prefilled once, and its later places go on with sample numbers where the earlier ended.
        `sample_numbers` gives them instead, one for each rollout: to draw just those that are missing.
        `on_rollout(place, rollout)` is called as soon as each rollout has ended, `on_finished(n)` after each step.
        """
        config = text_config(self.model)
        self.layers = probe(self.model)
        check_request(prompts, samples_per_prompt, sampling, config, self.vocabulary)
        if problems is not None and len(problems) != len(prompts):
            raise ValueError(f"{len(problems)} problem numbers were given for {len(prompts)} prompts.")
        if sample_numbers is not None and len(sample_numbers) != len(prompts) * samples_per_prompt:
            raise ValueError(
                f"{len(sample_numbers)} sample numbers were given for {len(prompts)} prompts x {samples_per_prompt}."
            )
        if not prompts:
            return []
        started = time.perf_counter()
        with borrowed(self.model):
            run = _Run(self, prompts, samples_per_prompt, sampling, problems, sample_numbers, step)
            while run.scheduler.has_work:
                ended = run.step()
                for place, rollout in ended:
                    if on_rollout is not None:
                        on_rollout(place, rollout)
                if ended and on_finished is not None:
                    on_finished(len(ended))
        self.stats = run.stats
        self.stats.seconds = time.perf_counter() - started
        rollouts = [rollout for rollout in run.rollouts if rollout is not None]
        self.lengths.remember(prompts, samples_per_prompt, [len(rollout.token_ids) for rollout in rollouts])
        return rollouts


class _Run:
    """One `generate` call: the scheduler, the pool and the rows of it."""

    def __init__(
        self,
        engine: RolloutEngine,
        prompts: Sequence[Sequence[int]],
        samples: int,
        sampling: Sampling,
        problems: Sequence[int] | None,
        sample_numbers: Sequence[int] | None,
        step: int,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.device = next(engine.model.parameters()).device
        total = len(prompts) * samples
        self.rollouts: list[Rollout | None] = [None] * total
        longest = max(len(prompt) for prompt in prompts)
        row_blocks = -(-(longest + sampling.max_new_tokens) // BLOCK_SIZE)
        self.rows = RowArrays(total, sampling.max_new_tokens, row_blocks)
        groups = self._groups(prompts, samples, problems, sample_numbers, step)

        limit = block_limit(engine.layers, engine.cache_gib, self.device)
        if limit < row_blocks + 1:
            raise ValueError(
                f"the key-value cache holds {limit * BLOCK_SIZE} tokens, too few for one rollout of up to "
                f"{longest + sampling.max_new_tokens}; raise cache_gib (now {engine.cache_gib})."
            )
        most = min(limit, (row_blocks + 1) * min(engine.max_rows, total) + sum(len(p) for p in prompts) // BLOCK_SIZE)
        self.allocator = BlockAllocator(max(most, row_blocks + 1))
        self.pool = KeyValuePool(engine.layers, self.allocator.count, self.device)
        self.scheduler = Scheduler(
            groups,
            self.rows,
            self.allocator,
            block_size=BLOCK_SIZE,
            max_rows=engine.max_rows,
            chunk_tokens=engine.chunk_tokens,
            max_new_tokens=sampling.max_new_tokens,
            typical_tokens=engine.lengths.typical(sampling.max_new_tokens),
        )
        self.builder = PassBuilder(self.scheduler, self.device)
        self.sampler = Sampler()
        self.steering = Steering(sampling, self.rows, {row: g.prompt for g in groups for row in g.pending})
        self.stats = RolloutStats(block_limit=self.allocator.count)
        self._stop = np.asarray(sampling.stop_ids, np.int64)

    def _groups(
        self,
        prompts: Sequence[Sequence[int]],
        samples: int,
        problems: Sequence[int] | None,
        sample_numbers: Sequence[int] | None,
        step: int,
    ) -> list[Group]:
        tree = PrefixTree(BLOCK_SIZE)
        places_of = distinct_prompts(prompts)
        paths = {prompt: tree.add(prompt, samples * len(places)) for prompt, places in places_of.items()}
        groups = []
        for prompt, places in places_of.items():
            used: dict[int, int] = {}  # sample numbers given out, by problem
            for place in places:
                problem = problem_key(prompt) if problems is None else problems[place]
                for row in range(place * samples, (place + 1) * samples):
                    number = used.get(problem, 0) if sample_numbers is None else sample_numbers[row]
                    self.rows.keys[row] = row_key(self.sampling.seed, step, problem, number)
                    used[problem] = number + 1
            pending = deque(row for place in places for row in range(place * samples, (place + 1) * samples))
            expected = self.engine.lengths.expected(prompt)
            groups.append(Group(list(prompt), shared_path(paths[prompt]), pending, expected))
        return groups

    def step(self) -> list[tuple[int, Rollout]]:
        """One step of every running row; returns the rollouts that ended, with their places."""
        scheduler = self.scheduler
        ended = self._start(scheduler.admit())
        self.pool.copy(*scheduler.take_copies())
        scheduler.grow()
        self.pool.copy(*scheduler.compact())
        chunks = scheduler.next_chunks()
        if scheduler.live or chunks:
            ended += self._forward(chunks)
        self.stats.preemptions = scheduler.preemptions
        self.stats.peak_blocks = self.allocator.peak
        return ended

    def _start(self, forked: list[Row]) -> list[tuple[int, Rollout]]:
        """Draw the first token of rows just forked off their prompts."""
        if not forked:
            return []
        logits = torch.cat([row.group.logits for row in forked if row.group.logits is not None])
        for row in forked:
            if not row.group.pending:
                row.group.logits = None
        return self._draw(np.array([row.index for row in forked]), logits)

    def _forward(self, chunks: list[Chunk]) -> list[tuple[int, Rollout]]:
        this_pass = self.builder.build(chunks)
        output = self.engine.model(
            input_ids=this_pass.tokens.unsqueeze(0),
            position_ids=this_pass.positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=this_pass.logit_index,
            rollout_pass=PassAttention(self.pool, this_pass),
        )
        logits = output.logits[0]  # (rows + finished prefills, vocab)
        live = this_pass.live
        self.rows.cached[live] += 1
        self.stats.steps += 1
        self.stats.decode_rows += len(live)
        self.stats.prefill_tokens += sum(chunk.end - chunk.start for chunk in chunks)
        started, first_logits = [], []
        for number, chunk in enumerate(chunk for chunk in chunks if chunk.is_last):
            at = len(live) + number
            row = chunk.prefill.row
            resumed = row is not None and row.serial >= 0
            self.scheduler.complete(chunk)
            if row is None:
                chunk.prefill.group.logits = logits[at : at + 1].clone()
            elif not resumed:
                started.append(row.index)
                first_logits.append(logits[at : at + 1])
        ended = self._draw(live, logits[: len(live)]) if len(live) else []
        if started:
            ended += self._draw(np.array(started), torch.cat(first_logits))
        return ended

    def _draw(self, rows: np.ndarray, logits: torch.Tensor) -> list[tuple[int, Rollout]]:
        """Draw a token for each of `rows` from `logits` (rows, vocab), and end the rows that are done."""
        at = self.rows.drawn[rows]
        numbers = uniforms(torch.from_numpy(self.rows.keys[rows]), torch.from_numpy(at)).to(self.device)
        try:
            draw = self.sampler.draw(logits, self.sampling, numbers)
        except NonFiniteLogits as error:
            raise ValueError(self._describe(rows[error.rows].tolist())) from error
        tokens = self.steering.steer(rows, draw.tokens.cpu().numpy())
        logprobs = draw.logprobs(torch.from_numpy(tokens).to(self.device))
        self.rows.append(rows, tokens, logprobs.cpu().numpy())
        self.stats.new_tokens += len(rows)
        stopped = np.isin(tokens, self._stop)
        done = stopped | (self.rows.drawn[rows] >= self.sampling.max_new_tokens)
        return [self._end(row, bool(stop)) for row, stop in zip(rows[done].tolist(), stopped[done], strict=True)]

    def _end(self, row: int, stopped: bool) -> tuple[int, Rollout]:
        self.scheduler.finish(self.scheduler.live[row])
        reason: FinishReason = "length"
        if stopped:
            reason = "budget" if self.steering.was_closed(row) else "stop"
        rollout = Rollout(
            token_ids=self.rows.completion(row),
            finish_reason=reason,
            logprobs=self.rows.logprobs[row, : self.rows.drawn[row]].tolist(),
            thinking_tokens=self.steering.thinking_tokens(row),
            forced=self.steering.forced(row),
        )
        self.rollouts[row] = rollout
        return row, rollout

    def _describe(self, rows: list[int]) -> str:
        named = ", ".join(f"rollout {row} at its token {self.rows.drawn[row]}" for row in rows[:4])
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return (
            f"the model's logits are not finite (NaN or infinity) in step {self.stats.steps}: {named}{more}. "
            "Its weights have most likely diverged; look at the last gradient norms, or load an earlier checkpoint."
        )
