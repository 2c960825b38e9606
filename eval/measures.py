"""What is measured of a checkpoint: each measure is a sum of numerators over a sum of denominators of its samples."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.estimators import Estimate, paired_difference, ratio

Row = dict[str, Any]

# Each measure gives a row's (numerator, denominator). A denominator of 0 leaves the row out.
MEASURES: dict[str, Callable[[Row], tuple[float, float]]] = {
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
    "right_by_luck": lambda row: (row["correct"] and not row["right_attempt"], row["correct"]),
    "step_accuracy": lambda row: (row["right_steps"], row["steps"]),
    "repair_rate": lambda row: (row["repairs"], row["slips"]),
    "slips": lambda row: (row["slips"], 1),
    "attempts": lambda row: (row["attempts"], 1),
    "subgoals": lambda row: (row["subgoals"], 1),
    "format": lambda row: (row["format"], 1),
    "truncated": lambda row: (row["truncated"], 1),
    "thinking_tokens": lambda row: (row["thinking_tokens"], 1),
    "answer_tokens": lambda row: (row["answer_tokens"], 1),
    "verifier_errors": lambda row: (row["error"] is not None, 1),
}


def measure(rows: Sequence[Row]) -> dict[str, Estimate | None]:
    """Every measure of one checkpoint's sampled rows, and `greedy_accuracy` of its greedy ones."""
    found = {name: ratio(*_sums(rows, name)) for name in MEASURES}
    return found | {"greedy_accuracy": ratio(*_sums(rows, "accuracy", greedy=True))}


def compare(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Estimate | None]:
    """Every measure's change between two checkpoints, paired by problem."""
    found = {name: paired_difference(_sums(before, name), _sums(after, name)) for name in MEASURES}
    greedy = [_sums(rows, "accuracy", greedy=True) for rows in (before, after)]
    return found | {"greedy_accuracy": paired_difference(*greedy)}


def _sums(rows: Sequence[Row], name: str, greedy: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators summed within each problem, (problems,), problems in sorted order."""
    order = {problem: i for i, problem in enumerate(sorted({row["problem"] for row in rows}))}
    sums = np.zeros((2, len(order)))
    for row in rows:
        if row["greedy"] == greedy:
            sums[:, order[row["problem"]]] += MEASURES[name](row)
    return sums[0], sums[1]


def as_json(estimates: dict[str, Estimate | None]) -> dict[str, Any]:
    """Estimates as plain JSON values; a rate whose denominator is 0 is null."""
    return {name: None if estimate is None else asdict(estimate) for name, estimate in estimates.items()}
