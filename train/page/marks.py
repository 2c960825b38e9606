"""A completion laid out for a reader: thinking in lines, each attempt and step marked right or wrong."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypedDict

from data.problem import Problem
from data.response import OPEN, parse_response
from data.tasks import get_task
from data.trace import Attempt, Step, Trace, calculate


class Completed(TypedDict):
    """What laying out a completion needs of its row: the problem, and what the model wrote."""

    task: str
    problem: str
    completion: str
    thinking_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a line: plain text, or a step. `should_be` is what a wrong step's value should have been."""

    text: str
    correct: bool | None = None
    should_be: str = ""


@dataclass(slots=True)
class Line:
    """A line of the thinking. `attempt` is the number and the attempt that begins here; `redo` says what is redone."""

    pieces: list[Piece] = field(default_factory=list)
    attempt: tuple[int, Attempt] | None = None
    redo: str = ""

    @property
    def misjudged(self) -> str:
        """What the model said of the attempt, where that is wrong."""
        if self.attempt is None or self.attempt[1].judged_correct in (None, self.attempt[1].correct):
            return ""
        return "yes" if self.attempt[1].judged_correct else "no"


@dataclass(frozen=True, slots=True)
class Reading:
    """A completion told apart: the thinking's lines, and the answer."""

    lines: list[Line]
    answer: str
    trace: Trace
    unmarked: str = ""  # why nothing could be marked


def read(row: Completed) -> Reading:
    """Lay out one rollout (a row of `rollouts.parquet` or of `samples-N.parquet`)."""
    completion = row["completion"]
    response = parse_response(completion, _opened(row))
    if not response.thinking and not response.answer:
        return Reading([], completion, Trace())  # it never thought: all that it wrote is shown as the answer
    trace, unmarked = trace_of(row, response.thinking)
    return Reading(lay_out(response.thinking, trace), response.answer, trace, unmarked)


def right_attempt(row: Completed) -> int | None:
    """The number, from 1, of a rollout's first right attempt: 0 without one, None where its attempts cannot be told."""
    trace, unmarked = trace_of(row, parse_response(row["completion"], _opened(row)).thinking)
    if unmarked:
        return None
    attempts = trace.attempts
    return next((number for number, attempt in enumerate(attempts, 1) if attempt.correct), 0)


def trace_of(row: Completed, thinking: str) -> tuple[Trace, str]:
    """The thinking taken apart by its task, or an empty trace and why there is none."""
    try:
        task = get_task(row["task"])
    except ValueError:
        return Trace(), f"the task {row['task']} is not known here"
    if task.parse_trace is None:
        return Trace(), f"the task {row['task']} has no parser of thinkings"
    try:
        return task.parse_trace(Problem.from_json(row["problem"]), thinking), ""
    except Exception as error:  # one odd thinking must not cost the report of a long run; the page says so
        return Trace(), f"its parser failed ({type(error).__name__}: {error})"


def _opened(row: Completed) -> bool:
    """Whether the chat template wrote the opening tag, so that the completion does not hold it."""
    return not row["completion"].lstrip().startswith(OPEN) and row["thinking_tokens"] > 0


def lay_out(thinking: str, trace: Trace) -> list[Line]:
    """Break the thinking where an attempt, a subgoal or a redone step begins, and mark its steps."""
    subgoals = {goal.start: goal.end for goal in trace.goals}
    attempts = {
        _line_start(attempt.start, subgoals, thinking): (n, attempt) for n, attempt in enumerate(trace.attempts, 1)
    }
    redone = {step.start: _redo(before, step) for before, step in pairwise(trace.steps) if step.redoes}
    breaks = sorted({0, *subgoals, *attempts, *redone, len(thinking)})
    lines = []
    for start, end in pairwise(breaks):
        steps = [step for step in trace.steps if start <= step.start < end]
        line = Line(_pieces(thinking, start, end, steps), attempts.get(start), redone.get(start, ""))
        if any(piece.text.strip() for piece in line.pieces):
            lines.append(line)
    return lines


def _redo(before: Step, step: Step) -> str:
    """How a step after a retraction relates to the retracted step."""
    same = (before.left, before.operator, before.right) == (step.left, step.operator, step.right)
    what = "a right step" if before.correct else "the slip"
    return f"redoes {what}" if same else f"drops {what}, goes another way"


def _line_start(start: int, subgoals: dict[int, int], thinking: str) -> int:
    """Where the line of an attempt begins: at the head of its subgoal, if it stands right before."""
    heads = (begin for begin, end in subgoals.items() if end <= start and not thinking[end:start].strip())
    return next(heads, start)


def _pieces(thinking: str, start: int, end: int, steps: list[Step]) -> list[Piece]:
    pieces: list[Piece] = []
    position = start + len(thinking[start:end]) - len(thinking[start:end].lstrip())
    for step in steps:
        exact = calculate(step.left, step.operator, step.right)
        should_be = "" if step.correct else "undefined" if exact is None else str(exact)
        pieces.append(Piece(thinking[position : step.start]))
        pieces.append(Piece(thinking[step.start : step.end], step.correct, should_be))
        position = step.end
    pieces.append(Piece(thinking[position:end]))
    return [piece for piece in pieces if piece.text]
