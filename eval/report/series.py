"""The curves of a run, from its metrics and the rollouts behind them."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from eval.measures.estimators import Estimate, wilson
from eval.report.load import Run


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity against RL step, `steps` and `values` of shape (points,)."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Points:
    """Held-out accuracy at some steps, with intervals."""

    steps: list[int]
    estimates: list[Estimate]


def groups(run: Run) -> list[str | None]:
    """What a curve is drawn of: all tasks together (None), and each where there are several."""
    return [None, *run.tasks] if len(run.tasks) > 1 else [None]


def batch_mean(run: Run, column: str, task: str | None) -> Curve:
    """The mean of a column over each step's training rollouts."""
    step, value = _of(run, "train", column, task)
    steps, place, count = np.unique(step, return_inverse=True, return_counts=True)
    return Curve(steps, np.bincount(place, weights=value, minlength=len(steps)) / count)


def held_out(run: Run, task: str | None) -> Points:
    """Accuracy on the validation problems at each step where they were asked, one sample a problem."""
    step, value = _of(run, "validation", "correct", task)
    steps = [int(at) for at in np.unique(step)]
    return Points(steps, [wilson(int(value[step == at].sum()), int((step == at).sum())) for at in steps])


def metric(run: Run, name: str) -> Curve | None:
    """A metric of the RL steps, or None where it was not logged."""
    rows = [row for row in run.rl if isinstance(row.get(name), int | float)]
    if not rows:
        return None
    return Curve(np.array([row["step"] for row in rows]), np.array([row[name] for row in rows], float))


def speed(run: Run) -> Curve | None:
    """Tokens a second of each step after the first, evaluation and saving left out."""
    tokens, seconds = metric(run, "num_tokens"), metric(run, "step_time")
    if tokens is None or seconds is None or len(tokens.steps) != len(seconds.steps) or len(tokens.steps) < 2:
        return None
    return Curve(tokens.steps[1:], np.diff(tokens.values) / np.maximum(seconds.values[1:], 1e-9))


def tokens_at(run: Run, steps: np.ndarray | list[int]) -> np.ndarray | None:
    """RL training tokens, prompts included, seen by the end of each step; None where they were not logged."""
    tokens = metric(run, "num_tokens")
    if tokens is None:
        return None
    return np.interp(steps, [0, *tokens.steps], [0, *tokens.values])


def _of(run: Run, split: str, column: str, task: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The step and the value of each rollout of a split, and of a task where one is named; both (rollouts,)."""
    rows = pc.equal(run.curves["split"], split)
    if task is not None:
        rows = pc.and_(rows, pc.equal(run.curves["task"], task))
    table = run.curves.select(["step", column]).filter(rows)
    return table["step"].to_numpy(), table[column].to_numpy().astype(float)
