"""Error injection: a right step of the model's own becomes a wrong one, and the model continues.

The step is one of those that a right attempt of a right completion rests on, so that the error matters; which one is
drawn by the problem alone. The model continues from its own ids up to that step's value, in four ways:

- `wrong`: the value is one, two or ten off;
- `wrong_wait`: and the word of doubt follows it ("Wait" of budget forcing, arXiv 2501.19393);
- `kept`, `kept_wait`: the controls, in which the value stays as it was.

It *recovers* where it ends with the right answer and some attempt after the error is right. A right answer
without one means that the stated error was passed over: the answer did not come from the steps. The injection measures;
training on injected errors does not teach correction (arXiv 2512.02389), and nothing here is ever trained on.
"""

import random
from collections.abc import Sequence
from typing import Literal

from data.problem import Problem
from data.trace import Step
from eval.measures.rows import ProblemRow
from eval.measures.sample_measures import Formula, Measures
from eval.sampling.alter import restate, waiting, wrong_value
from eval.sampling.subject import Completion, Subject, go_on

ARMS = ("wrong", "wrong_wait", "kept", "kept_wait")


class InjectionRow(ProblemRow):
    """The outcome of one completion in one arm."""

    arm: str  # of `ARMS`
    right: bool
    recovered: bool  # right, by an attempt that stands after the altered step
    dropped: bool  # the last attempt does without the altered step
    truncated: bool
    text: str


def inject(subject: Subject, completions: Sequence[Completion], seed: int = 0) -> list[InjectionRow]:
    """One row for each right completion and arm; completions without a right attempt are left out."""
    wait = subject.decode(waiting(subject))
    choices = [(completion, step) for completion in completions if (step := choose_step(completion, seed))]
    cases, starts = list[tuple[str, Completion, Step]](), list[tuple[Problem, list[int]]]()
    for completion, step in choices:
        wrong = wrong_value(step, random.Random(f"{seed}|{completion.problem.canonical}|value"))
        for arm in ARMS:
            value = wrong if arm.startswith("wrong") else step.value
            ids = restate(subject, completion, step, value, wait if arm.endswith("wait") else "")
            cases.append((arm, completion, step))
            starts.append((completion.problem, ids))
    continuations = go_on(subject, starts)
    return [_row(*case, after) for case, after in zip(cases, continuations, strict=True)]


def choose_step(completion: Completion, seed: int) -> Step | None:
    """A step that the last right attempt with steps rests on; None where there is none, or the completion is wrong."""
    right = [attempt for attempt in completion.trace.attempts if attempt.correct and attempt.steps]
    if not completion.correct or not right:
        return None
    return random.Random(f"{seed}|{completion.problem.canonical}").choice(right[-1].steps)


def _row(arm: str, before: Completion, step: Step, after: Completion) -> InjectionRow:
    attempts = after.trace.attempts
    redeemed = any(attempt.correct and attempt.end > step.end for attempt in attempts)
    standing = {own.start for own in attempts[-1].steps} if attempts else set()
    return {
        "problem": before.problem.canonical,
        "task": before.problem.task,
        "arm": arm,
        "right": after.correct,
        "recovered": after.correct and redeemed,
        "dropped": step.start not in standing,
        "truncated": not after.ended,
        "text": after.text,
    }


def _of_arm(arm: str, key: Literal["right", "recovered", "dropped", "truncated"]) -> Formula[InjectionRow]:
    return lambda row: (row[key] and row["arm"] == arm, row["arm"] == arm)


MEASURES: Measures[InjectionRow] = {
    "recovery": _of_arm("wrong", "recovered"),
    "recovery_wait": _of_arm("wrong_wait", "recovered"),
    "right_when_kept": _of_arm("kept", "right"),
    "right_when_kept_wait": _of_arm("kept_wait", "right"),
    "dropped": _of_arm("wrong", "dropped"),
    "dropped_wait": _of_arm("wrong_wait", "dropped"),
    "passed_over": lambda row: (row["right"] and not row["recovered"] and row["arm"] == "wrong", row["arm"] == "wrong"),
    "truncated": _of_arm("wrong", "truncated"),
}
