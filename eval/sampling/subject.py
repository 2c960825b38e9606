"""A checkpoint under test: asking it problems, and having it go on from a completion that was cut or altered.

Token in, token out: a completion is kept as the ids that were sampled. What is put into it is encoded apart and joined
to those ids, so nothing that the model wrote is ever encoded anew.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from data.mixture import judge
from data.problem import Problem, Verdict
from data.response import CLOSE, OPEN, Response
from data.tasks import get_task
from data.trace import Trace
from train.model.prompts import completion_text, messages, opens_thinking, prompt_ids
from train.rollout.interface import RolloutBackend, Sampling


@dataclass(frozen=True)
class Completion:
    """A checkpoint's text: `ids` is all of it, forced tokens included. `ended` says that it stopped by itself."""

    problem: Problem
    ids: list[int]
    ended: bool
    text: str
    thinking_at: int  # the character at which the thinking begins
    judged: tuple[Response, Verdict]

    @property
    def thinking(self) -> str:
        """The text between the thinking tags."""
        return self.judged[0].thinking

    @property
    def answer(self) -> str:
        """The text after the thinking."""
        return self.judged[0].answer

    @property
    def correct(self) -> bool:
        """Whether it ended by itself with the right answer."""
        return self.ended and self.judged[1].correct

    @property
    def traced(self) -> bool:
        """Whether the task can take a thinking apart."""
        return get_task(self.problem.task).parse_trace is not None

    @cached_property
    def trace(self) -> Trace:
        """The parsed thinking; empty where the task has no parser."""
        return get_task(self.problem.task).trace(self.problem, self.thinking)


@dataclass(frozen=True)
class Subject:
    """A checkpoint and how it is asked: `sampling` decides the draws, and how long a completion may be.

    `progress` gets the number of completions so far, as they come.
    """

    backend: RolloutBackend
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    system_prompt: str = ""
    progress: Callable[[int], None] | None = None

    @cached_property
    def opened(self) -> bool:
        """Whether the chat template opens the thinking."""
        return opens_thinking(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """The ids of a text within a completion."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, as verifiers see it."""
        return completion_text(self.tokenizer, ids)

    def can_read(self, text: str) -> bool:
        """Whether the vocabulary spells `text`: that of a scratch model knows the words of its tasks alone."""
        unknown = self.tokenizer.unk_token_id
        return unknown is None or unknown not in self.encode(text)

    def prompt(self, problem: Problem) -> list[int]:
        """The ids that ask `problem`."""
        return prompt_ids(self.tokenizer, messages(problem, self.system_prompt))

    def read(self, problem: Problem, ids: Sequence[int], ended: bool) -> Completion:
        """Take a completion apart."""
        text = self.decode(ids)
        opening = text.find(OPEN)
        at = 0 if self.opened or opening < 0 else opening + len(OPEN)
        return Completion(problem, list(ids), ended, text, at, judge(problem, text, thinking_opened=self.opened))


def ask(subject: Subject, problems: Sequence[Problem], samples: int) -> list[Completion]:
    """Sample each problem `samples` times; the samples of one problem side by side."""
    prompts = [subject.prompt(problem) for problem in problems]
    rollouts = subject.backend.generate(prompts, samples, subject.sampling, subject.progress)
    copies = (problem for problem in problems for _ in range(samples))
    return [
        subject.read(problem, rollout.token_ids, rollout.finish_reason == "stop")
        for problem, rollout in zip(copies, rollouts, strict=True)
    ]


def go_on(subject: Subject, starts: Iterable[tuple[Problem, list[int]]]) -> list[Completion]:
    """Have the model go on, once, from each beginning of a completion; a fresh allowance of new tokens for each."""
    return _go_on(subject, list(starts), subject.sampling)


def answer(subject: Subject, starts: Iterable[tuple[Problem, list[int]]]) -> list[Completion]:
    """Have the model answer behind each closed thinking: greedily, and in a quarter of the allowance.

    So two answers differ only where what they follow does.
    """
    allowance = max(1, subject.sampling.max_new_tokens // 4)
    return _go_on(subject, list(starts), replace(subject.sampling, temperature=0.0, max_new_tokens=allowance))


def _go_on(subject: Subject, starts: list[tuple[Problem, list[int]]], sampling: Sampling) -> list[Completion]:
    prompts = [subject.prompt(problem) + ids for problem, ids in starts]
    rollouts = subject.backend.generate(prompts, 1, sampling, subject.progress)
    return [
        subject.read(problem, [*ids, *rollout.token_ids], rollout.finish_reason == "stop")
        for (problem, ids), rollout in zip(starts, rollouts, strict=True)
    ]


def cut(subject: Subject, ids: Sequence[int], characters: int) -> tuple[list[int], str]:
    """The ids that lie within the first `characters` characters, and the text left over up to there.

    The text is not empty where a token reaches over the place: a space before a number is part of the number's token.
    """
    low, high = 0, len(ids)
    while low < high:  # the decoded text only grows with the ids, so halving finds the place
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(subject.decode(ids[:middle])) <= characters else (low, middle - 1)
    prefix = list(ids[:low])
    return prefix, subject.decode(ids)[len(subject.decode(prefix)) : characters]


def is_right(problem: Problem, answer: str) -> bool:
    """Whether an answer is right, whatever precedes it."""
    return judge(problem, f"{OPEN}.{CLOSE}{answer}")[1].correct


def closing(subject: Subject) -> list[int]:
    """The ids that close the thinking."""
    return subject.encode(CLOSE)
