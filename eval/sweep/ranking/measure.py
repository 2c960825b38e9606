"""A run's result on the validation problems, which are neither trained on nor in the test set.

The test set is not for choosing. A trial is judged by its last evaluation, not by the best one on the way, which would
reward noise. That evaluation is training's own, at training's temperature, which favours whatever only sharpens a
model. So a sweep with `temperatures` samples the last checkpoint at each of them and judges the trial at its best.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from eval.measures.estimators import Estimate, Sums, ratio
from eval.sweep.setup.spec import Spec
from train.files.untrusted import read_metrics, read_parquet

COLUMNS = {"accuracy": "correct", "format": "format", "truncated": "truncated", "thinking_tokens": "thinking_tokens"}
DECODINGS = "evaluation/decodings.parquet"  # in a run: its validation samples at each of the sweep's temperatures
ByProblem = dict[str, tuple[float, float]]  # numerator and denominator of each validation problem


def curve(run: Path, metric: str) -> dict[int, float]:
    """The metric at each RL evaluation so far, by step."""
    return {row["step"]: float(row[f"eval_{metric}"]) for row in _rl(run) if f"eval_{metric}" in row}


def step(run: Path) -> int:
    """The last RL step that was logged."""
    return max((row["step"] for row in _rl(run)), default=0)


def by_problem(run: Path, metric: str, at: int) -> ByProblem:
    """The metric's sums within each validation problem at a step. Raises ValueError where the run holds none."""
    columns = ("problem", "task", COLUMNS[metric.partition("/")[0]])
    paths = sorted((run / "rollouts.parquet").glob(f"validation-{at:06d}-*.parquet"))
    sums = _sums((row for path in paths for row in read_parquet(path, columns).to_pylist()), metric)
    if not sums:
        raise ValueError(f"{run} has no validation rollouts of step {at}; was its evaluation left out?")
    return sums


def _sums(rows: Iterable[dict[str, Any]], metric: str) -> ByProblem:
    """The metric's sums within each problem over `rows`; those of other tasks are left out where it names one."""
    name, _, task = metric.partition("/")
    sums: ByProblem = {}
    for row in rows:
        if not task or row["task"] == task:
            above, below = sums.get(row["problem"], (0.0, 0.0))
            sums[row["problem"]] = above + row[COLUMNS[name]], below + 1
    return dict(sorted(sums.items()))


def judged(run: Path, spec: Spec) -> ByProblem:
    """The sums within each problem that a finished trial is judged by. Raises ValueError where the run holds none."""
    if spec.temperatures:
        return at_best_decoding(run, spec.metric)
    return by_problem(run, spec.metric, last(run, spec.metric))


def at_best_decoding(run: Path, metric: str) -> ByProblem:
    """The metric's sums within each problem at the temperature of the highest accuracy.

    For each half of the problems that temperature is chosen on the other half, so that the choice flatters nobody.
    Raises ValueError where the run was not sampled so.
    """
    columns = ("problem", "task", "temperature", "correct", COLUMNS[metric.partition("/")[0]])
    rows = read_parquet(run / DECODINGS, columns).to_pylist()
    problems = sorted({row["problem"] for row in rows})
    halves = [set(problems[::2]), set(problems[1::2])]
    chosen: list[dict[str, Any]] = []
    for half, other in (halves, halves[::-1]):
        best = _best_temperature([row for row in rows if row["problem"] in other])
        chosen += [row for row in rows if row["problem"] in half and row["temperature"] == best]
    return _sums(chosen, metric)


def _best_temperature(rows: list[dict[str, Any]]) -> float:
    """The temperature of the highest accuracy; of equals the lowest."""
    right: dict[float, list[bool]] = {}
    for row in rows:
        right.setdefault(row["temperature"], []).append(row["correct"])
    return max(sorted(right), key=lambda temperature: fmean(right[temperature]))


def sums(by_problem: ByProblem) -> Sums:
    """Numerators and denominators for the estimators, problems in sorted order."""
    above, below = np.array([by_problem[problem] for problem in sorted(by_problem)]).T
    return above, below


def estimate(by_problem: ByProblem) -> Estimate:
    """The metric with its interval over problems."""
    figure = ratio(*sums(by_problem))
    assert figure is not None  # every problem has at least one rollout
    return figure


def value(run: Path, spec: Spec) -> float:
    """The metric of a finished run. Raises ValueError where there is none."""
    above, below = sums(judged(run, spec))
    return float(above.sum() / below.sum())


def last(run: Path, metric: str) -> int:
    """The step of the run's last evaluation. Raises ValueError where there is none."""
    steps = curve(run, metric)
    if not steps:
        raise ValueError(f"{run} was never evaluated: its metrics.jsonl has no eval_{metric}.")
    return max(steps)


def _rl(run: Path) -> list[dict[str, Any]]:
    """The logged RL rows."""
    path = run / "metrics.jsonl"
    try:
        state = path.stat()
    except FileNotFoundError:
        return []
    return _rows(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _rows(path: Path, change_time: int, size: int) -> list[dict[str, Any]]:
    """Read once for each state of the file, which is looked at every second."""
    return [row for row in read_metrics(path) if row["phase"] == "rl"]
