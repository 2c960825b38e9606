"""The train-compute curve: the accuracy of every checkpoint against the compute that the run had spent by then."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from eval.curves.forecast import forecast
from eval.measures.estimators import Sums, paired_difference, trend
from eval.measures.rows import SampleRow
from eval.measures.sample_measures import SAMPLE_MEASURES, as_json, compare, correct_by_problem, measure
from train.files.checkpoints import checkpoint_name
from train.files.untrusted import read_json, read_metrics, read_parquet

SHOWN = tuple(name for name, measure in SAMPLE_MEASURES.items() if measure.on_curve)


@dataclass(frozen=True, slots=True)
class Compute:
    """The RL compute by a checkpoint, over all processes, without the cold start.

    `tokens` are those of all rollouts, prompts included; `generated` of them were sampled. `flops` is 6 N for each
    token trained on, which are all but those that dynamic sampling left out, and 2 N for each generated, N all
    parameters (Kaplan et al. 2020, section 2.1; attention over the context left out, and frozen weights counted as
    trained).
    """

    step: int
    tokens: int
    generated: int
    flops: float


def compute_spent(run: Path, steps: list[int], parameters: int) -> list[Compute]:
    """What the run had spent by each of `steps`. Raises ValueError where its logs cannot be read or do not tell."""
    totals = _tokens_logged(run, steps)
    generated = _tokens_generated(run / "rollouts.parquet")
    compute = []
    for step in steps:
        tokens, left_out = totals[step]
        sample_tokens = sum(count for at, count in generated.items() if at <= step)
        compute.append(
            Compute(step, tokens, sample_tokens, parameters * (6.0 * (tokens - left_out) + 2.0 * sample_tokens))
        )
    return compute


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


def _tokens_logged(run: Path, steps: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Tokens of all rollouts by the end of each step, and of those left out; evaluation's are in neither.

    A step that was not logged has the tokens that its checkpoint kept, and of those left out what the logged steps
    around it have.
    """
    path = run / "metrics.jsonl"
    try:
        rows = [row for row in read_metrics(path) if row["phase"] != "cold-start" and "num_tokens" in row]
        totals = {0: (0, 0)} | {
            row["step"]: (int(row["num_tokens"]), int(row.get("left_out_tokens", 0))) for row in rows
        }
    except TypeError:
        raise ValueError(f"{path} has a num_tokens or left_out_tokens that is not a number.") from None
    logged_steps = sorted(totals)
    left_out = np.interp(steps, logged_steps, [totals[step][1] for step in logged_steps])
    return {
        step: totals[step] if step in totals else (_tokens_kept(run, step), round(between))
        for step, between in zip(steps, left_out, strict=True)
    }


def _tokens_kept(run: Path, step: int) -> int:
    """The tokens by then, from its checkpoint: one may be saved between two logged steps, or on a signal."""
    path = run / "checkpoints" / checkpoint_name(step) / "trainer_state.json"
    try:
        return int(read_json(path)["num_input_tokens_seen"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{run / 'metrics.jsonl'} has no num_tokens at step {step}, and {path} does not tell either ({error})."
        ) from None


def _tokens_generated(folder: Path) -> dict[int, int]:
    """Tokens sampled for training, by step."""
    generated: dict[int, int] = {}
    for path in sorted(folder.glob("train-*.parquet")):
        table = read_parquet(path, ("step", "completion_ids"))
        if table.num_rows:
            step = table["step"][0].as_py()
            generated[step] = generated.get(step, 0) + pc.sum(pc.list_value_length(table["completion_ids"])).as_py()
    if not generated:
        raise ValueError(f"{folder} holds no training rollouts; expected train-*.parquet, as `train` writes them.")
    return generated
