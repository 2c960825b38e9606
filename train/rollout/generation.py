"""One `generate` call while it runs: its rows, its groups, and the rollouts that have ended.

`DenseRun` (dense/dense_steps.py) and `PagedRun` (paged/paged_steps.py) do the steps; what they share is here.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from train.rollout.counter import problem_key, row_key
from train.rollout.dense.pool import LayerShape
from train.rollout.interface import FinishReason, Rollout, Sampling
from train.rollout.limits import Limits
from train.rollout.schedule.block_allocator import BlockAllocator
from train.rollout.schedule.block_manager import Chunk
from train.rollout.schedule.lengths import LengthMemory
from train.rollout.schedule.prefix import PrefixTree, shared_path
from train.rollout.schedule.requests import Request, distinct_prompts
from train.rollout.schedule.rows import Group, RowArrays
from train.rollout.schedule.scheduler import Scheduler


@dataclass(slots=True)
class RolloutStats:
    """The counts and times of one `generate` call. `decode_rows / steps` is the mean running batch."""

    seconds: float = 0.0
    steps: int = 0
    decode_rows: int = 0
    prefill_tokens: int = 0
    prefills: int = 0  # passes over chunks of prompts
    new_tokens: int = 0
    preemptions: int = 0
    peak_blocks: int = 0
    block_limit: int = 0
    captured_graphs: int = 0  # CUDA graphs captured in this call
    replayed_steps: int = 0  # decode steps that were replays of a CUDA graph
    replayed_prefills: int = 0  # and prefills


@dataclass(frozen=True, slots=True)
class Room:
    """The most that a run holds: rollouts, tokens of the longest with its prompt, and tokens of all prompts."""

    rollouts: int
    longest: int
    prompt_tokens: int
    typical: float  # completion tokens that a rollout is expected to have, until some have ended


class Run(ABC):
    """The state of one call. Blocks have `block_size` tokens.

    A session's run has `room` and starts empty: groups `join` it and `leave` it between steps.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Sequence[LayerShape],
        limits: Limits,
        lengths: LengthMemory,
        request: Request,
        block_size: int,
        room: Room | None = None,
    ) -> None:
        sampling = request.sampling
        room = room or _room_of(request, lengths.typical(sampling.max_new_tokens))
        self.model = model
        self.layers = list(layers)
        self.limits = limits
        self.lengths = lengths
        self.sampling = sampling
        self.room = room
        self._own: dict[int, Sampling] = {}  # of rollouts that have joined
        self.block_size = block_size
        self.device = next(model.parameters()).device
        self.rollouts: list[Rollout | None] = [None] * room.rollouts
        self.stats = RolloutStats()
        self.row_blocks = -(-room.longest // block_size)
        self.rows = RowArrays(room.rollouts, sampling.max_new_tokens, self.row_blocks)
        self._tree = PrefixTree(block_size)
        self.groups = self._groups(request)
        self.allocator: BlockAllocator
        self.scheduler: Scheduler

    def blocks_of_use(self, limit: int) -> int:
        """How many of at most `limit` blocks this call can use. Raises ValueError where they hold no whole rollout."""
        if limit < self.row_blocks + 1:
            raise ValueError(
                f"the key-value cache holds {limit * self.block_size} tokens, too few for one rollout of up to "
                f"{self.room.longest}; raise cache_gib (now {self.limits.cache_gib})."
            )
        rows = min(self.limits.max_rows, len(self.rollouts))
        blocks = (self.row_blocks + 1) * rows + self.room.prompt_tokens // self.block_size
        return min(limit, max(blocks, self.row_blocks + 1))

    def schedule_with(self, allocator: BlockAllocator, idle_chunk_tokens: int = 0) -> None:
        """Make the scheduler, over the blocks of `allocator`."""
        sampling = self.sampling
        self.allocator = allocator
        self.stats.block_limit = allocator.count
        self.scheduler = Scheduler(
            self.groups,
            self.rows,
            allocator,
            block_size=self.block_size,
            max_rows=self.limits.max_rows,
            chunk_tokens=self.limits.chunk_tokens,
            max_new_tokens=sampling.max_new_tokens,
            typical_tokens=self.room.typical,
            idle_chunk_tokens=idle_chunk_tokens,
        )

    def _groups(self, request: Request) -> list[Group]:
        samples, numbers, tree = request.samples, request.sample_numbers, self._tree
        places_of = distinct_prompts(request.prompts)
        paths = {prompt: tree.add(prompt, samples * len(places)) for prompt, places in places_of.items()}
        groups = []
        for prompt, places in places_of.items():
            counts: dict[int, int] = {}  # sample numbers given out, by problem
            for place in places:
                problem = problem_key(prompt) if request.problems is None else request.problems[place]
                for row in range(place * samples, (place + 1) * samples):
                    number = counts.get(problem, 0) if numbers is None else numbers[row]
                    self.rows.keys[row] = row_key(self.sampling.seed, request.step, problem, number)
                    counts[problem] = number + 1
            pending = deque(row for place in places for row in range(place * samples, (place + 1) * samples))
            expected = self.lengths.expected(prompt)
            groups.append(Group(list(prompt), shared_path(paths[prompt]), pending, expected))
        return groups

    def join(self, prompt: list[int], rows: Sequence[int], sampling: Sampling) -> Group:
        """Have `rows`, which nobody uses, be new rollouts of `prompt`, drawn as `sampling` says."""
        problem = problem_key(prompt)
        path = self._tree.add(prompt, len(rows))
        for number, row in enumerate(rows):
            self.rows.clear(row, row_key(sampling.seed, 0, problem, number), sampling.max_new_tokens)
            self.rollouts[row] = None
            self._own[row] = sampling
        group = Group(prompt, shared_path(path), deque(rows))
        self._begin(rows, prompt, sampling)
        self.scheduler.waiting.append(group)
        return group

    def leave(self, group: Group, rows: Sequence[int]) -> None:
        """Forget `group` and its `rows`, ended or not; they are free for others."""
        self.scheduler.withdraw(group)
        self._tree.remove(group.prompt, len(rows))
        for row in rows:
            del self._own[row]

    def by_sampling(self, rows: np.ndarray) -> list[tuple[Sampling, Any]]:
        """How each of `rows` (rows,) is drawn: every `Sampling` with the places that it holds for."""
        if not self._own:
            return [(self.sampling, slice(None))]
        places: dict[Sampling, list[int]] = {}
        for place, row in enumerate(rows.tolist()):
            places.setdefault(self._own[row], []).append(place)
        return [(sampling, np.array(own)) for sampling, own in places.items()]

    @abstractmethod
    def _begin(self, rows: Sequence[int], prompt: list[int], sampling: Sampling) -> None:
        """Set up whatever else follows a rollout, for new ones of `prompt`."""

    @abstractmethod
    def step(self) -> list[tuple[int, Rollout]]:
        """One step of every running row; returns the rollouts that ended, with their places."""

    def complete(self, chunks: Sequence[Chunk], logits: torch.Tensor) -> tuple[list[int], list[torch.Tensor]]:
        """Take note of the prefills that `chunks` complete, given `logits` (completed, vocab) of their last tokens.

        Returns the rows that want their first token now, and their logits (1, vocab).
        """
        rows, first = [], []
        for number, chunk in enumerate(chunk for chunk in chunks if chunk.is_last):
            row = chunk.prefill.row
            resumed = row is not None and row.serial >= 0
            self.scheduler.complete(chunk)
            if row is None:
                chunk.prefill.group.logits = logits[number : number + 1].clone()
            elif not resumed:
                rows.append(row.index)
                first.append(logits[number : number + 1])
        return rows, first

    def end(
        self, row: int, *, stopped: bool, closed: bool, thinking_tokens: int, forced: list[bool] | None
    ) -> tuple[int, Rollout]:
        """Take a row that is done out of the schedule; its place and its rollout."""
        self.scheduler.finish(self.scheduler.live[row])
        reason: FinishReason = "length"
        if stopped:
            reason = "budget" if closed else "stop"
        rollout = Rollout(
            token_ids=self.rows.completion(row),
            finish_reason=reason,
            logprobs=self.rows.logprobs[row, : self.rows.drawn[row]].tolist(),
            thinking_tokens=thinking_tokens,
            forced=forced,
        )
        self.rollouts[row] = rollout
        return row, rollout

    def not_finite(self, rows: list[int]) -> ValueError:
        """The error for rows whose logits are NaN or infinite."""
        places = ", ".join(f"rollout {row} at its token {self.rows.drawn[row]}" for row in rows[:4])
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return ValueError(
            f"the model's logits are not finite (NaN or infinity) in step {self.stats.steps}: {places}{more}. "
            "Its weights have most likely diverged; look at the last gradient norms, or load an earlier checkpoint."
        )


def _room_of(request: Request, typical: float) -> Room:
    """The room that a call needs."""
    lengths = [len(prompt) for prompt in request.prompts]
    total = len(request.prompts) * request.samples
    return Room(total, max(lengths) + request.sampling.max_new_tokens, sum(lengths), typical)


def first_logits(forked: Sequence[Group]) -> torch.Tensor:
    """(rows, vocab) logits of the last prompt token, for a row of each of `forked`; forgotten by spent groups."""
    logits = torch.cat([group.logits for group in forked if group.logits is not None])
    for group in forked:
        if not group.pending:
            group.logits = None
    return logits
