"""Evaluate checkpoints on the same held-out problems with the same decoding, and compare them pair by pair."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from peft import PeftModel
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.mixture import Part, Split, draw_problems, load_mixture
from data.problem import Problem
from eval.measures import Row, as_json, compare, measure
from eval.samples import COLUMNS, sample_checkpoint
from train.models import load_model, load_tokenizer, merged_checkpoint
from train.prompts import stop_ids
from train.rollout.engine import RolloutEngine
from train.rollout.generate import GenerateBackend
from train.rollout.interface import RolloutBackend, Sampling
from train.rollout.vllm import VLLMBackend, require_vllm
from train.run_folder import COLD_START, last_checkpoint


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of every checkpoint alike."""

    problems: int = 400
    samples: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    split: Split = "test"
    backend: str = "engine"

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        if self.problems < 2 or self.samples < 1 or self.max_new_tokens < 1:
            raise ValueError(
                f"{self.problems} problems, {self.samples} samples each, {self.max_new_tokens} new tokens; expected at "
                "least 2, 1 and 1."
            )


@dataclass(frozen=True, slots=True)
class Source:
    """The problems that a configuration trains on, and how it asks them."""

    parts: list[Part]
    split_seed: int
    system_prompt: str
    max_new_tokens: int


def read_source(path: Path) -> Source:
    """Read tasks, splits and prompt from a run's `config.yaml` or any training config. Raises ValueError."""
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"The config {path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict) or "tasks" not in config:
        raise ValueError(f"The config {path} has no `tasks`; give one that `train` takes.")
    return Source(
        load_mixture(config["tasks"]),
        int(config.get("split_seed", 0)),
        config.get("system_prompt") or "",
        int(config.get("max_completion_length", Settings().max_new_tokens)),
    )


def config_of(checkpoint: Path) -> Path | None:
    """The `config.yaml` of the run that a checkpoint, RUN/checkpoints/NAME, lies in, or None."""
    path = checkpoint.parent.parent / "config.yaml"
    return path if path.is_file() else None


def checkpoints_of(run: Path) -> list[str]:
    """Before and after: what the run started reinforcement from, and its last checkpoint. Raises ValueError."""
    config = run / "config.yaml"
    last = last_checkpoint(run)
    if not config.is_file() or last is None:
        raise ValueError(
            f"{run} is no run folder with a checkpoint; expected config.yaml and checkpoints/checkpoint-N."
        )
    before = run / "checkpoints" / COLD_START
    start = str(before) if before.is_dir() else str(yaml.safe_load(config.read_text())["model"])
    return [str(last)] if start == "scratch" else [start, str(last)]


def evaluate(checkpoints: list[str], source: Source, settings: Settings, output: Path) -> dict[str, Any]:
    """Sample every checkpoint, measure each, compare each with the first; writes parquet and `results.json`.

    A task that has fewer held-out problems than its share of `settings.problems` gives all it has.

    A checkpoint's samples are on disk, as `samples-N.parquet`, before the next one is sampled.
    """
    problems = draw_problems(source.parts, settings.split, settings.problems, source.split_seed, at_most=True)
    settings = replace(settings, problems=len(problems))
    if settings.backend == "vllm":
        require_vllm()
    for checkpoint in checkpoints:  # whatever is missing is found out before the first minute is spent
        load_tokenizer(checkpoint)
        load_model(checkpoint)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder for results, {output}, cannot be made: {error.strerror}.") from None
    tables: list[list[Row]] = []
    for number, checkpoint in enumerate(checkpoints):
        rows = _sample(checkpoint, problems, source, settings)
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), output / f"samples-{number}.parquet")
        tables.append(rows)
    results = summarise(checkpoints, tables, settings)
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return results


def summarise(checkpoints: list[str], tables: list[list[Row]], settings: Settings) -> dict[str, Any]:
    """The content of `results.json`: a row a checkpoint, and a row for each later checkpoint against the first."""
    return {
        "settings": asdict(settings),
        "checkpoints": [_checkpoint(name, rows) for name, rows in zip(checkpoints, tables, strict=True)],
        "pairs": [
            _pair(checkpoints[0], tables[0], name, rows, settings.samples)
            for name, rows in zip(checkpoints[1:], tables[1:], strict=True)
        ],
    }


def _checkpoint(name: str, rows: list[Row]) -> dict[str, Any]:
    """Plain figures under their names for a quick reader, and the estimates whole under `measures`."""
    estimates = measure(rows)
    accuracy = estimates["accuracy"]
    assert accuracy is not None
    plain = {key: None if estimate is None else estimate.value for key, estimate in estimates.items()}
    return {
        "checkpoint": name,
        **plain,
        "interval": [accuracy.low, accuracy.high],
        "measures": as_json(estimates),
        "tasks": {task: as_json(measure(_of(rows, task))) for task in _tasks(rows)},
    }


def _pair(before: str, rows_before: list[Row], after: str, rows_after: list[Row], samples: int) -> dict[str, Any]:
    changes = compare(rows_before, rows_after)
    accuracy = changes["accuracy"]
    assert accuracy is not None
    return {
        "before": before,
        "after": after,
        "difference": accuracy.value,
        "interval": [accuracy.low, accuracy.high],
        "problems": accuracy.count,
        "samples": samples,
        "measures": as_json(changes),
        "tasks": {task: as_json(compare(_of(rows_before, task), _of(rows_after, task))) for task in _tasks(rows_after)},
    }


def _tasks(rows: list[Row]) -> list[str]:
    return sorted({row["task"] for row in rows})


def _of(rows: list[Row], task: str) -> list[Row]:
    return [row for row in rows if row["task"] == task]


def _sample(checkpoint: str, problems: list[Problem], source: Source, settings: Settings) -> list[Row]:
    tokenizer = load_tokenizer(checkpoint)
    model = load_model(checkpoint)
    sampling = Sampling(
        settings.max_new_tokens, stop_ids(model, tokenizer), temperature=settings.temperature, seed=settings.seed
    )
    total = len(problems) * (settings.samples + 1)
    with (
        _backend(settings.backend, checkpoint, model, tokenizer) as backend,
        tqdm(total=total, desc=checkpoint, unit="sample", dynamic_ncols=True) as bar,
    ):
        return sample_checkpoint(
            checkpoint, backend, tokenizer, problems, settings.samples, sampling, source.system_prompt, bar.update
        )


@contextmanager
def _backend(
    name: str, checkpoint: str, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase
) -> Iterator[RolloutBackend]:
    """The back end of that name on `model`, which was loaded from `checkpoint`."""
    if name == "vllm":
        with merged_checkpoint(checkpoint, model) as source, VLLMBackend(source) as backend:
            yield backend
        return
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    yield RolloutEngine(model) if name == "engine" else GenerateBackend(model, tokenizer.pad_token_id)
