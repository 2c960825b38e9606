"""Breaking a problem into steps: accuracy by the number of operations, and how far the steps hold.

A step is valid where its value is exact and its operands were at hand: given, or made by a step before. The depth of
the first error is the place, from 1, of the first step that is not.
"""

from itertools import takewhile

from data.problem import Problem
from data.tasks import TASKS
from eval.measures.rows import ProblemRow
from eval.measures.sample_measures import Formula, Measures
from eval.sampling.subject import Completion

MOST_OPERATIONS = 12
DEEPEST = 8  # steps beyond are too few to measure one by one


class DecompositionRow(ProblemRow):
    """The steps of one thinking, and how many are valid."""

    correct: bool
    operations: int | None  # that the problem asks for; None for a task of another kind
    steps: int
    valid_steps: int  # right and grounded
    right_steps: int
    grounded_steps: int
    first_error: int | None  # the place, from 1, of the first step that is not valid
    standing_valid: bool | None  # of the steps that the last attempt rests on; None without one


def operations(problem: Problem) -> int | None:
    """How many operations the problem asks for: the signs of an expression, or one fewer than the numbers to combine.

    A long multiplication is counted by the digits that it multiplies, since each takes a step. None for a task of
    another kind.
    """
    if problem.task not in TASKS:
        return None
    if "numbers" in problem.facts:
        return len(problem.facts["numbers"]) - 1
    words = problem.facts["expression"].split()
    if len(words) == 3 and words[1] == "*":
        return len(words[0]) * len(words[2])
    return len(words) // 2


def describe(completion: Completion) -> DecompositionRow:
    """One completion's row."""
    trace = completion.trace
    valid = [step.correct and step.grounded for step in trace.steps]
    standing = [step.correct and step.grounded for step in trace.attempts[-1].steps] if trace.attempts else []
    before_error = sum(1 for _ in takewhile(bool, valid))
    return {
        "problem": completion.problem.canonical,
        "task": completion.problem.task,
        "correct": completion.correct,
        "operations": operations(completion.problem),
        "steps": len(valid),
        "valid_steps": sum(valid),
        "right_steps": sum(step.correct for step in trace.steps),
        "grounded_steps": sum(step.grounded for step in trace.steps),
        "first_error": before_error + 1 if before_error < len(valid) else None,
        "standing_valid": all(standing) if standing else None,
    }


def _accuracy_at(operations: int) -> Formula[DecompositionRow]:
    return lambda row: (row["correct"] and row["operations"] == operations, row["operations"] == operations)


def _error_at(depth: int) -> Formula[DecompositionRow]:
    """How often a thinking errs at step `depth`, of those that reached it without an error."""
    return lambda row: (row["first_error"] == depth, row["steps"] >= depth and (row["first_error"] or depth) >= depth)


def _accuracy_where(valid: bool) -> Formula[DecompositionRow]:
    return lambda row: (row["correct"] and row["standing_valid"] is valid, row["standing_valid"] is valid)


MEASURES: Measures[DecompositionRow] = {
    "accuracy": lambda row: (row["correct"], 1),
    **{f"accuracy_{count}_operations": _accuracy_at(count) for count in range(1, MOST_OPERATIONS + 1)},
    "valid_steps": lambda row: (row["valid_steps"], row["steps"]),
    "right_steps": lambda row: (row["right_steps"], row["steps"]),
    "grounded_steps": lambda row: (row["grounded_steps"], row["steps"]),
    "steps": lambda row: (row["steps"], 1),
    "without_error": lambda row: (row["first_error"] is None and row["steps"] > 0, row["steps"] > 0),
    "first_error_depth": lambda row: (row["first_error"] or 0, row["first_error"] is not None),
    **{f"error_at_step_{depth}": _error_at(depth) for depth in range(1, DEEPEST + 1)},
    "accuracy_when_steps_valid": _accuracy_where(True),
    "accuracy_when_steps_invalid": _accuracy_where(False),
}
