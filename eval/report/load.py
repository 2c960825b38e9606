"""A run folder read whole for the report: configuration, metrics, rollouts, and the evaluation where there is one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from train.files import untrusted
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_metrics, read_parquet

Json = dict[str, Any]  # an object of `results.json`, `claims.json`, `config.yaml` or a line of `metrics.jsonl`

CURVE_COLUMNS = ("step", "split", "task", "correct", "truncated", "thinking_tokens")
EXAMPLE_COLUMNS = (*CURVE_COLUMNS, "problem", "prompt", "completion", "reason")
SAMPLE_COLUMNS = (
    "problem", "task", "prompt", "sample", "greedy", "completion", "correct", "reason", "truncated",
    "thinking_tokens", "answer_tokens",
)  # fmt: skip


KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    **dict.fromkeys(("split", "task", "problem", "prompt", "completion"), pa.types.is_string),
    **dict.fromkeys(("correct", "truncated", "greedy"), pa.types.is_boolean),
    **dict.fromkeys(("step", "sample", "thinking_tokens", "answer_tokens"), pa.types.is_integer),
}


class ShownRow(TypedDict):
    """A rollout as the page reads it: EXAMPLE_COLUMNS of one of training, SAMPLE_COLUMNS of one of an evaluation."""

    problem: str
    task: str
    prompt: str
    completion: str
    correct: bool
    reason: str
    truncated: bool
    thinking_tokens: int
    step: NotRequired[int]  # this and `split` of training alone
    split: NotRequired[str]
    sample: NotRequired[int]  # this and the following of evaluation alone
    greedy: NotRequired[bool]
    answer_tokens: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder holds. `results` is None where the run has not been evaluated.

    `curves` has CURVE_COLUMNS of every rollout; `samples` the rows of each evaluated checkpoint, in its order.
    """

    folder: Path
    config: Json
    config_text: str
    environment: Json
    metrics: list[Json]
    curves: pa.Table
    results: Json | None
    samples: list[list[ShownRow]]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def tasks(self) -> list[str]:
        """The tasks that the configuration trains on."""
        return list(self.config["tasks"])

    @property
    def rl(self) -> list[Json]:
        """The metrics of RL training steps, in order."""
        return [row for row in self.metrics if row["phase"] == "rl" and "reward" in row]


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises ValueError with one clear line where it is none, or a file in it cannot be read."""
    if not (folder / "config.yaml").is_file():
        raise ValueError(
            f"{folder} is not a run folder: it has no config.yaml. Give a folder that `train` made, such as runs/NAME."
        )
    config_text = _text(folder / "config.yaml")
    config = read_run_config(folder / "config.yaml")
    if not isinstance(config, dict) or not isinstance(config.get("tasks"), dict) or not config["tasks"]:
        raise ValueError(f"{folder / 'config.yaml'} names no tasks; expected the configuration that `train` wrote.")
    environment = folder / "environment.json"
    results, samples = _evaluation(folder / "evaluation")
    return Run(
        folder,
        config,
        config_text,
        read_json(environment, dict) if environment.is_file() else {},
        _metrics(folder / "metrics.jsonl"),
        _curves(folder / "rollouts.parquet"),
        results,
        samples,
    )


def load_rollouts(run: Run, step: int) -> list[ShownRow]:
    """The training rollouts of one step, with their text."""
    rows: list[ShownRow] = []
    for path in sorted((run.folder / "rollouts.parquet").glob(f"train-{step:06d}-*.parquet")):
        rows += read_rows(path, EXAMPLE_COLUMNS).to_pylist()
    return rows


def training_rollouts(run: Run) -> Iterator[pa.Table]:
    """EXAMPLE_COLUMNS of the rollouts of training and its validation, file by file, in the order of `run.curves`."""
    for path in sorted((run.folder / "rollouts.parquet").glob("*.parquet")):
        yield read_rows(path, EXAMPLE_COLUMNS)


def read_rows(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """The columns of a file of rollouts. Raises ValueError naming file, row and column where a value is missing."""
    table = read_parquet(path, columns)
    for name in columns:
        if name not in KINDS or not len(table):
            continue
        if not KINDS[name](table[name].type):
            raise ValueError(f"{path}: the column {name} holds {table[name].type}, which is not as it was written.")
        if table[name].null_count:
            row = pc.index(table[name].is_null(), value=True).as_py()
            raise ValueError(f"{path}, row {row}: {name} is null; delete the row, or write the file anew.")
    return table


def _metrics(path: Path) -> list[Json]:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no metrics.jsonl: the run has not trained a step yet.")
    rows = read_metrics(path)
    if not rows:
        raise ValueError(f"{path} is empty: the run has not trained a step yet.")
    return rows


def _curves(folder: Path) -> pa.Table:
    parts = [read_rows(path, CURVE_COLUMNS) for path in sorted(folder.glob("*.parquet"))]
    if not parts:
        return pa.table({name: [] for name in CURVE_COLUMNS})
    return pa.concat_tables(parts)


def _evaluation(folder: Path) -> tuple[Json | None, list[list[ShownRow]]]:
    path = folder / "results.json"
    if not path.is_file():
        return None, []
    results = read_json(path, dict)
    shape = {"settings": dict, "checkpoints": list, "pairs": list}
    if any(not isinstance(results.get(key), kind) for key, kind in shape.items()) or not results["checkpoints"]:
        raise ValueError(f"{path} is not what scripts/evaluate.py writes: it needs settings, checkpoints and pairs.")
    for row in [*results["checkpoints"], *results["pairs"]]:
        if not isinstance(row, dict) or not isinstance(row.get("measures"), dict) or not row.get("tasks"):
            raise ValueError(f"{path} is not what scripts/evaluate.py writes: a row has no measures or no tasks.")
        if not isinstance(row.get("best"), dict):
            raise ValueError(
                f"{path} says nothing of the best decoding, as an earlier version wrote it: evaluate the run again. "
                "Its samples are kept."
            )
    paths = [folder / f"samples-{number}.parquet" for number in range(len(results["checkpoints"]))]
    return results, [read_rows(path, SAMPLE_COLUMNS).to_pylist() if path.is_file() else [] for path in paths]


def read_json(path: Path, kind: type) -> Any:
    """A JSON file whose content is a `kind`. Raises ValueError naming the file where it is not."""
    content = untrusted.read_json(path)
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds no JSON object.")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
