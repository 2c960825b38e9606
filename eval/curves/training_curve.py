"""The train-compute curve: the accuracy of every checkpoint against the compute that the run had spent by then."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.curves.compute import Compute
from eval.curves.forecast import forecast
from eval.measures.estimators import Sums, paired_difference, trend
from eval.measures.rows import SampleRow
from eval.measures.sample_measures import SAMPLE_MEASURES, as_json, compare, correct_by_problem, measure

SHOWN = tuple(name for name, measure in SAMPLE_MEASURES.items() if measure.on_curve)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A checkpoint's samples: `rows` at temperature 1, `best_rows` at its best decoding, which is `temperature`."""

    name: str
    rows: list[SampleRow]
    best_rows: list[SampleRow]
    temperature: float


def train_curve(checkpoints: list[Sampled], compute: list[Compute]) -> dict[str, Any]:
    """The curve of one run from the samples of each checkpoint, in order, on the same problems.

    `rise` is the trend test: the rise of accuracy along the straight line through all checkpoints, in their order, with
    its interval over problems (`estimators.trend`). `difference` compares the last with the first alone, and `changes`
    does so for every measure. These are at temperature 1; `best` has the same with each checkpoint at its best
    decoding, and `forecast` is of those (`eval.curves.forecast`).
    """
    points = [
        asdict(at)
        | {"checkpoint": checkpoint.name, "best_temperature": checkpoint.temperature}
        | {key: value for key, value in as_json(measure(checkpoint.rows)).items() if key in SHOWN}
        | {f"best_{key}": value for key, value in as_json(measure(checkpoint.best_rows)).items() if key == "accuracy"}
        for checkpoint, at in zip(checkpoints, compute, strict=True)
    ]
    first, last = checkpoints[0], checkpoints[-1]
    level = [point["best_accuracy"] for point in points]
    foretold = forecast(
        [at.flops for at in compute],
        [each["value"] for each in level],
        [(each["high"] - each["low"]) / 2 for each in level],
    )
    best = [correct_by_problem(checkpoint.best_rows) for checkpoint in checkpoints]
    return {
        "points": points,
        **rise_and_difference([correct_by_problem(checkpoint.rows) for checkpoint in checkpoints]),
        "greedy": as_json({"difference": compare(first.rows, last.rows)["greedy_accuracy"]}),
        "changes": as_json(compare(first.rows, last.rows)),
        "forecast": foretold,
        "best": rise_and_difference(best) | {"changes": as_json(compare(first.best_rows, last.best_rows))},
    }


def rise_and_difference(accuracies: Sequence[Sums]) -> dict[str, Any]:
    """The figures that the curve's claim needs (see `train_curve`), from right samples and samples of each problem."""
    return as_json({"rise": trend(accuracies), "difference": paired_difference(accuracies[0], accuracies[-1])})
