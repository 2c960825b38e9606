"""One `generate` call while it runs: its rows, its groups, and the rollouts that have ended.

`DenseRun` (dense.py) and `PagedRun` (paged/run.py) do the steps; what they share is here.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from train.rollout.counter import problem_key, row_key
from train.rollout.dense.pool import LayerShape
from train.rollout.interface import FinishReason, Rollout
from train.rollout.limits import Limits
from train.rollout.schedule.blocks import BlockAllocator
from train.rollout.schedule.holdings import Chunk
from train.rollout.schedule.lengths import LengthMemory
from train.rollout.schedule.prefix import PrefixTree, shared_path
from train.rollout.schedule.requests import Request, distinct_prompts
from train.rollout.schedule.rows import Group, RowArrays
from train.rollout.schedule.scheduler import Scheduler


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
    captured_graphs: int = 0  # CUDA graphs captured in this call
    replayed_steps: int = 0  # decode steps that were replays of a CUDA graph


class Run(ABC):
    """What one call holds. Blocks have `block_size` tokens."""

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Sequence[LayerShape],
        limits: Limits,
        lengths: LengthMemory,
        request: Request,
        block_size: int,
    ) -> None:
        sampling = request.sampling
        self.model = model
        self.layers = list(layers)
        self.limits = limits
        self.lengths = lengths
        self.sampling = sampling
        self.block_size = block_size
        self.device = next(model.parameters()).device
        total = len(request.prompts) * request.samples
        self.rollouts: list[Rollout | None] = [None] * total
        self.stats = RolloutStats()
        self._longest = max(len(prompt) for prompt in request.prompts) + sampling.max_new_tokens
        self._prompt_tokens = sum(len(prompt) for prompt in request.prompts)
        self.row_blocks = -(-self._longest // block_size)
        self.rows = RowArrays(total, sampling.max_new_tokens, self.row_blocks)
        self.groups = self._groups(request)
        self.allocator: BlockAllocator
        self.scheduler: Scheduler

    def blocks_of_use(self, limit: int) -> int:
        """How many of at most `limit` blocks this call can use. Raises ValueError where they hold no whole rollout."""
        if limit < self.row_blocks + 1:
            raise ValueError(
                f"the key-value cache holds {limit * self.block_size} tokens, too few for one rollout of up to "
                f"{self._longest}; raise cache_gib (now {self.limits.cache_gib})."
            )
        rows = min(self.limits.max_rows, len(self.rollouts))
        wanted = (self.row_blocks + 1) * rows + self._prompt_tokens // self.block_size
        return min(limit, max(wanted, self.row_blocks + 1))

    def schedule_with(self, allocator: BlockAllocator) -> None:
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
            typical_tokens=self.lengths.typical(sampling.max_new_tokens),
        )

    def _groups(self, request: Request) -> list[Group]:
        samples, numbers, tree = request.samples, request.sample_numbers, PrefixTree(self.block_size)
        places_of = distinct_prompts(request.prompts)
        paths = {prompt: tree.add(prompt, samples * len(places)) for prompt, places in places_of.items()}
        groups = []
        for prompt, places in places_of.items():
            used: dict[int, int] = {}  # sample numbers given out, by problem
            for place in places:
                problem = problem_key(prompt) if request.problems is None else request.problems[place]
                for row in range(place * samples, (place + 1) * samples):
                    number = used.get(problem, 0) if numbers is None else numbers[row]
                    self.rows.keys[row] = row_key(self.sampling.seed, request.step, problem, number)
                    used[problem] = number + 1
            pending = deque(row for place in places for row in range(place * samples, (place + 1) * samples))
            expected = self.lengths.expected(prompt)
            groups.append(Group(list(prompt), shared_path(paths[prompt]), pending, expected))
        return groups

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
        named = ", ".join(f"rollout {row} at its token {self.rows.drawn[row]}" for row in rows[:4])
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return ValueError(
            f"the model's logits are not finite (NaN or infinity) in step {self.stats.steps}: {named}{more}. "
            "Its weights have most likely diverged; look at the last gradient norms, or load an earlier checkpoint."
        )


def first_logits(forked: Sequence[Group]) -> torch.Tensor:
    """(rows, vocab) logits of the last prompt token, for a row of each of `forked`; forgotten by spent groups."""
    logits = torch.cat([group.logits for group in forked if group.logits is not None])
    for group in forked:
        if not group.pending:
            group.logits = None
    return logits
