"""Continuous batching: a run that stays open, which requests join and leave between steps.

Weights, random numbers and steps are those of `generate`: what a request draws depends on its prompt, its `Sampling`
and its seed, not on what shares its batch, nor on when it came.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from transformers import PreTrainedConfig

from train.rollout.generation import RolloutStats, Run
from train.rollout.interface import Rollout, Sampling
from train.rollout.schedule.requests import check_request, vocabulary_size
from train.rollout.schedule.rows import Group


@dataclass(frozen=True, slots=True)
class Progress:
    """The tokens that a step added to one sample of a group. `rollout` is the whole of it, once it has ended."""

    group: int
    sample: int
    token_ids: list[int]
    logprobs: list[float]
    rollout: Rollout | None = None


@dataclass(slots=True)
class _Member:
    """A submitted group. `rows` are its places in the run, once enough were free."""

    number: int
    prompt: list[int]
    samples: int
    sampling: Sampling
    group: Group | None = None
    rows: list[int] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)  # tokens returned so far, by sample
    running: int = 0  # samples that have not ended


class Session:
    """Made by `RolloutEngine.session`. Not safe for threads: submit, step and cancel from the one that opened it."""

    def __init__(self, run: Run, config: PreTrainedConfig) -> None:
        self._run = run
        self._config = config
        self._vocabulary = vocabulary_size(run.model)
        self._free = list(range(run.room.rollouts))
        self._waiting: deque[_Member] = deque()  # for free rows, in the order in which they came
        self._members: dict[int, _Member] = {}
        self._of_row: dict[int, tuple[_Member, int]] = {}
        self._next = 0

    @property
    def stats(self) -> RolloutStats:
        """The session's counts so far."""
        return self._run.stats

    @property
    def longest(self) -> int:
        """The most tokens of a prompt and its completion together."""
        return self._run.room.longest

    @property
    def has_work(self) -> bool:
        """Whether any sample has not ended."""
        return bool(self._members)

    @property
    def running(self) -> int:
        """Samples that have a place in the run."""
        return len(self._of_row)

    @property
    def waiting(self) -> int:
        """Groups that wait for places."""
        return len(self._waiting)

    def holds(self, number: int) -> bool:
        """Whether some sample of a group has not ended."""
        return number in self._members

    def check(self, prompt: Sequence[int], samples: int, sampling: Sampling) -> None:
        """Raise ValueError where `submit` would."""
        check_request([prompt], samples, sampling, self._config, self._vocabulary)
        whole = self._run.sampling
        if sampling.stop_ids != whole.stop_ids or _tags(sampling) != _tags(whole):
            raise ValueError("stop ids and thinking tags of a request differ from the session's; they must be its own.")
        if len(prompt) + sampling.max_new_tokens > self.longest:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens; with max_new_tokens {sampling.max_new_tokens} that is more than "
                f"the {self.longest} of a session. Shorten the prompt or lower max_new_tokens."
            )
        if samples > self._run.room.rollouts:
            raise ValueError(f"{samples} samples are asked for; at most {self._run.room.rollouts} fit in a batch.")

    def submit(self, prompt: Sequence[int], samples: int, sampling: Sampling) -> int:
        """Request `samples` completions of `prompt`; returns the group's number. Raises ValueError."""
        self.check(prompt, samples, sampling)
        self._next += 1
        member = _Member(self._next, list(prompt), samples, sampling, reported=[0] * samples, running=samples)
        self._members[member.number] = member
        self._waiting.append(member)
        return member.number

    def cancel(self, number: int) -> None:
        """Forget a group, whatever its state; it gets no more tokens. Does nothing for one that has ended."""
        member = self._members.pop(number, None)
        if member is None:
            return
        if member.group is None:
            self._waiting.remove(member)
        else:
            self._leave(member)

    def step(self) -> list[Progress]:
        """Draw one token of every running sample, and run prefill beside it; returns the additions by sample."""
        while self._waiting and self._waiting[0].samples <= len(self._free):
            self._join(self._waiting.popleft())
        if not self._of_row:
            return []
        results = dict(self._run.step())
        progress = [news for row in list(self._of_row) if (news := self._news(row, results.get(row)))]
        for row in results:
            self._end(row)
        return progress

    def _join(self, member: _Member) -> None:
        member.rows = [self._free.pop() for _ in range(member.samples)]
        member.group = self._run.join(member.prompt, member.rows, member.sampling)
        self._of_row.update((row, (member, sample)) for sample, row in enumerate(member.rows))

    def _news(self, row: int, rollout: Rollout | None) -> Progress | None:
        member, sample = self._of_row[row]
        rows, before = self._run.rows, member.reported[sample]
        count = int(rows.drawn[row])
        if count == before and rollout is None:
            return None
        member.reported[sample] = count
        ids, logprobs = rows.tokens[row, before:count].tolist(), rows.logprobs[row, before:count].tolist()
        return Progress(member.number, sample, ids, logprobs, rollout)

    def _end(self, row: int) -> None:
        member, _ = self._of_row[row]
        member.running -= 1
        if not member.running:
            del self._members[member.number]
            self._leave(member)

    def _leave(self, member: _Member) -> None:
        assert member.group is not None
        self._run.leave(member.group, member.rows)
        for row in member.rows:
            del self._of_row[row]
        self._free += member.rows


def _tags(sampling: Sampling) -> object:
    """The part of a request's thinking rules that a session shares."""
    return None if sampling.thinking is None else replace(sampling.thinking, budget=None)
