"""What is measured of a checkpoint: each measure is a sum of numerators over a sum of denominators of its samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.measures.estimators import Estimate, paired_difference, ratio

Row = dict[str, Any]
Measure = Callable[[Row], tuple[float, float]]  # a row's numerator and denominator; a denominator of 0 leaves it out
Measures = Mapping[str, Measure]
SAID = ("verification", "backtracking", "subgoals", "backward_chaining")  # by words: `eval.measures.lexical`


def _count(name: str) -> Measure:
    """The mean of a count, over the rows that have one."""
    return lambda row: (row[name] or 0, row[name] is not None)


def _shown(name: str) -> Measure:
    """The share of the rows with a count whose count is not 0."""
    return lambda row: (bool(row.get(name)), row.get(name) is not None)


MEASURES: Measures = {
    "accuracy": lambda row: (row["correct"], 1),
    "first_attempt_accuracy": lambda row: (row["first_correct"] is True, row["first_correct"] is not None),
    # A right answer after a wrong first attempt counts only where a later attempt is right: the rest is luck.
    "incorrect_to_correct": lambda row: (
        row["first_correct"] is False and row["correct"] and row["right_attempt"],
        row["first_correct"] is False,
    ),
    "correct_to_incorrect": lambda row: (
        row["first_correct"] is True and not row["correct"],
        row["first_correct"] is True,
    ),
    "right_by_luck": lambda row: (
        row["correct"] and row["right_attempt"] is False,
        row["correct"] and row["right_attempt"] is not None,
    ),
    "step_accuracy": lambda row: (row["right_steps"] or 0, row["steps"] or 0),
    "repair_rate": lambda row: (row["repairs"] or 0, row["slips"] or 0),
    **{name: _count(name) for name in ("slips", "attempts", "subgoals")},
    **{f"says_{name}": _shown(f"says_{name}") for name in SAID},
    "format": lambda row: (row["format"], 1),
    "truncated": lambda row: (row["truncated"], 1),
    "thinking_tokens": lambda row: (row["thinking_tokens"], 1),
    "answer_tokens": lambda row: (row["answer_tokens"], 1),
    "verifier_errors": lambda row: (row["error"] is not None, 1),
}


def measure(rows: Sequence[Row]) -> dict[str, Estimate | None]:
    """Every measure of one checkpoint's sampled rows, and `greedy_accuracy` of its greedy ones."""
    drawn, greedy = _split(rows)
    return rates(drawn, MEASURES) | {"greedy_accuracy": rates(greedy, MEASURES)["accuracy"] if greedy else None}


def compare(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Estimate | None]:
    """Every measure's change between two checkpoints, paired by problem."""
    (drawn, greedy), (drawn_after, greedy_after) = _split(before), _split(after)
    found = changes(drawn, drawn_after, MEASURES)
    both = greedy and greedy_after
    return found | {"greedy_accuracy": changes(greedy, greedy_after, MEASURES)["accuracy"] if both else None}


def rates(rows: Sequence[Row], measures: Measures) -> dict[str, Estimate | None]:
    """Each measure over all rows; a row needs its `problem` and what the measures read of it."""
    order = _order(rows)
    return {name: ratio(*_sums(rows, of, order)) for name, of in measures.items()}


def changes(before: Sequence[Row], after: Sequence[Row], measures: Measures) -> dict[str, Estimate | None]:
    """Each measure's change, paired by problem, over the problems that both sides have rows of."""
    shared = {row["problem"] for row in before} & {row["problem"] for row in after}
    before, after = ([row for row in rows if row["problem"] in shared] for rows in (before, after))
    order = _order(before)
    return {name: paired_difference(_sums(before, of, order), _sums(after, of, order)) for name, of in measures.items()}


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    return [row for row in rows if not row["greedy"]], [row for row in rows if row["greedy"]]


def _order(rows: Sequence[Row]) -> dict[str, int]:
    return {problem: i for i, problem in enumerate(sorted({row["problem"] for row in rows}))}


def _sums(rows: Sequence[Row], of: Measure, order: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators summed within each problem, (problems,), in the given order."""
    sums = np.zeros((2, len(order)))
    for row in rows:
        sums[:, order[row["problem"]]] += of(row)
    return sums[0], sums[1]


def as_json(estimates: dict[str, Estimate | None]) -> dict[str, Any]:
    """Estimates as plain JSON values; a rate whose denominator is 0 is null."""
    return {name: None if estimate is None else asdict(estimate) for name, estimate in estimates.items()}
