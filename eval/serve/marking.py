"""Marks for the chat page: the task of a problem, and which steps of a thinking are right."""

import random
from functools import cached_property
from typing import Any

from data.mixture import judge
from data.problem import Problem
from data.response import CLOSE, OPEN
from data.tasks import TASKS, get_task
from eval.sampling.source import Source, held_out
from train.page.marks import Line, read

OFFERED = 64  # held-out problems that the page draws from
MOST_CHARACTERS = 400_000  # of a thinking and its answer that are marked: what 65,536 tokens hold


class Marker:
    """Knows the problems of `source`, and those of the built-in tasks with any numbers."""

    def __init__(self, source: Source | None, seed: int = 0) -> None:
        self._source = source
        self._rng = random.Random(seed)

    @cached_property
    def problems(self) -> dict[str, Problem]:
        """Held-out problems by their prompts; drawn on first use, since some tasks are slow."""
        problems = held_out(self._source, OFFERED) if self._source else []
        return {problem.prompt: problem for problem in problems}

    def offer(self) -> Problem | None:
        """A problem to ask that the served run has not trained on; None where the run is unknown."""
        return self._rng.choice(list(self.problems.values())) if self.problems else None

    def recognise(self, question: str) -> Problem | None:
        """The problem that a message asks, or None where no task can tell."""
        if problem := self.problems.get(question):
            return problem
        problems = (task.recognise(question.strip()) for task in TASKS.values() if task.recognise)
        return next((problem for problem in problems if problem), None)

    def mark(self, question: str, thinking: str, answer: str) -> dict[str, Any] | None:
        """A finished completion as the page shows it: its lines, step by step, and the verdict on its answer.

        None where no task knows the problem, or where the texts are too long to be read.
        """
        problem = self.recognise(question)
        if problem is None or len(thinking) + len(answer) > MOST_CHARACTERS:
            return None
        completion = f"{OPEN}{thinking}{CLOSE}{answer}"
        reading = read(
            {"task": problem.task, "problem": problem.to_json(), "completion": completion, "thinking_tokens": 1}
        )
        _, verdict = judge(problem, completion)
        return {
            "task": problem.task,
            "question": get_task(problem.task).question,
            "lines": [_line(line) for line in reading.lines],
            "unmarked": reading.unmarked,
            "correct": verdict.correct,
            "reason": verdict.error or verdict.reason,
        }


def _line(line: Line) -> dict[str, Any]:
    return {
        "pieces": [
            {"text": piece.text, "correct": piece.correct, "should_be": piece.should_be} for piece in line.pieces
        ],
        "attempt": {"number": line.attempt[0], "correct": line.attempt[1].correct} if line.attempt else None,
        "redo": line.redo,
    }
