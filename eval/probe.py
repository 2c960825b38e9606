"""The probes of what a checkpoint's thinking is worth, run over the same problems for each checkpoint.

Each checkpoint answers held-out problems once; every probe reads those completions or goes on from them. Stage by stage
its rows are kept, in `probes/N-STAGE.parquet`, so that a run that was cut off goes on where it was. `probes.json` holds
the figures: of each checkpoint, and of each later one against the first, paired by problem.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data.mixture import Split, draw_problems
from data.problem import Problem
from eval import behaviour, decomposition, faithfulness, injection, lexical, monitor, second_turn
from eval.labelled import score_behaviour, score_lexical, score_monitor
from eval.measures import Measures, Row, as_json, changes, rates
from eval.source import Source
from eval.subject import Completion, Subject, ask
from eval.table import short_names
from train.models import load_model, load_tokenizer
from train.prompts import stop_ids
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling

Stage = Callable[[Subject, list[Completion], int], list[Row]]


def _each(describe: Callable[[Completion], Row]) -> Stage:
    return lambda subject, completions, seed: [describe(completion) for completion in completions]


def _in_words(subject: Subject, completions: list[Completion], seed: int) -> list[Row]:
    """Signs in words, where the model knows words at all."""
    return [lexical.describe(completion) for completion in completions] if subject.can_read("Let me check.") else []


STAGES: dict[str, tuple[Stage, Measures]] = {
    "behaviour": (_each(behaviour.describe), behaviour.MEASURES),
    "lexical": (_in_words, lexical.MEASURES),
    "decomposition": (_each(decomposition.describe), decomposition.MEASURES),
    "monitor": (_each(monitor.describe), monitor.MEASURES),
    "second_turn": (lambda subject, completions, _: second_turn.ask_again(subject, completions), second_turn.MEASURES),
    "injection": (injection.inject, injection.MEASURES),
    "faithfulness": (faithfulness.follow, faithfulness.MEASURES),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of every checkpoint alike."""

    problems: int = 200
    samples: int = 2
    temperature: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    split: Split = "test"

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        if self.problems < 2 or self.samples < 1 or self.max_new_tokens < 4:
            raise ValueError(
                f"{self.problems} problems, {self.samples} samples each, {self.max_new_tokens} new tokens; expected at "
                "least 2, 1 and 4."
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; probes draw samples, so it must be above 0.")


def probe(
    checkpoints: list[str], source: Source, settings: Settings, output: Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Run every probe on every checkpoint; writes and returns `probes.json`.

    A finished stage is read back from `output`/probes unless `overwrite`. Raises ValueError where that folder holds the
    probes of other checkpoints or settings, and ModelError for a checkpoint that cannot be loaded, before any sampling.
    """
    problems = draw_problems(source.parts, settings.split, settings.problems, source.split_seed, at_most=True)
    settings = replace(settings, problems=len(problems))
    folder = output / "probes"
    for checkpoint in checkpoints:  # whatever is missing is found out before the first minute is spent
        load_tokenizer(checkpoint, source.chat)
        load_model(checkpoint)
    _claim(folder, _key(checkpoints, source, settings), overwrite)
    names = short_names(checkpoints)
    tables = [
        _run(checkpoint, f"{folder}/{number}-", names[number], problems, source, settings)
        for number, checkpoint in enumerate(checkpoints)
    ]
    results = {
        "settings": asdict(settings),
        "checkpoints": [
            {"checkpoint": name, **{stage: _figures(rows, stage) for stage, rows in table.items()}}
            for name, table in zip(checkpoints, tables, strict=True)
        ],
        "pairs": [
            {
                "before": checkpoints[0],
                "after": name,
                **{stage: _changes(tables[0][stage], rows, stage) for stage, rows in table.items()},
            }
            for name, table in zip(checkpoints[1:], tables[1:], strict=True)
        ],
        "detectors": detectors(),
    }
    (output / "probes.json").write_text(json.dumps(results, indent=2) + "\n")
    return results


def detectors() -> dict[str, Any]:
    """Precision and recall of the detectors on traces labelled by hand (`eval.labelled`)."""
    found = {"behaviour": score_behaviour(), "lexical": score_lexical(), "monitor": score_monitor()}
    return {
        name: {
            label: asdict(score) | {"precision": score.precision, "recall": score.recall}
            for label, score in scores.items()
        }
        for name, scores in found.items()
    }


def _run(
    checkpoint: str, prefix: str, name: str, problems: list[Problem], source: Source, settings: Settings
) -> dict[str, list[Row]]:
    """Every stage's rows of one checkpoint."""
    subject = _subject(checkpoint, source, settings)

    def labelled(stage: str) -> Subject:
        return replace(subject, label=f"{name}: {stage.replace('_', ' ')}")

    rows = _kept(f"{prefix}completions.parquet", partial(_asked, labelled("completions"), problems, settings.samples))
    completions = [subject.read(Problem.from_json(row["problem"]), row["ids"], row["ended"]) for row in rows]
    return {
        stage: _kept(f"{prefix}{stage}.parquet", partial(run, labelled(stage), completions, settings.seed))
        for stage, (run, _) in STAGES.items()
    }


def _subject(checkpoint: str, source: Source, settings: Settings) -> Subject:
    tokenizer = load_tokenizer(checkpoint, source.chat)
    model = load_model(checkpoint).to("cuda" if torch.cuda.is_available() else "cpu")
    sampling = Sampling(
        settings.max_new_tokens, stop_ids(model, tokenizer), temperature=settings.temperature, seed=settings.seed
    )
    return Subject(RolloutEngine(model), tokenizer, sampling, source.system_prompt)


def _asked(subject: Subject, problems: list[Problem], samples: int) -> list[Row]:
    return [
        {"problem": completion.problem.to_json(), "ids": completion.ids, "ended": completion.ended}
        for completion in ask(subject, problems, samples)
    ]


def _kept(path: str, make: Callable[[], list[Row]]) -> list[Row]:
    """The rows in a file, or those that `make` gives, which are then in the file: whole or not at all."""
    file = Path(path)
    if not file.is_file():
        partial_file = file.with_suffix(".partial")
        pq.write_table(pa.Table.from_pylist(make()), partial_file)
        partial_file.replace(file)
    try:
        return pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException):
        raise ValueError(f"{file} cannot be read as parquet; delete it, and its stage will be sampled anew.") from None


def _figures(rows: list[Row], stage: str) -> dict[str, Any]:
    measures = STAGES[stage][1]
    return {
        "measures": as_json(rates(rows, measures)),
        "tasks": {task: as_json(rates(_of(rows, task), measures)) for task in _tasks(rows)},
    }


def _changes(before: list[Row], after: list[Row], stage: str) -> dict[str, Any]:
    measures = STAGES[stage][1]
    return {
        "measures": as_json(changes(before, after, measures)),
        "tasks": {task: as_json(changes(_of(before, task), _of(after, task), measures)) for task in _tasks(after)},
    }


def _tasks(rows: list[Row]) -> list[str]:
    return sorted({row["task"] for row in rows})


def _of(rows: list[Row], task: str) -> list[Row]:
    return [row for row in rows if row["task"] == task]


def _key(checkpoints: list[str], source: Source, settings: Settings) -> dict[str, Any]:
    """What the rows depend on: other settings, problems or weights make other rows."""
    return {
        "settings": asdict(settings),
        "tasks": [asdict(part) for part in source.parts],
        "split_seed": source.split_seed,
        "system_prompt": source.system_prompt,
        "chat": asdict(source.chat),
        "checkpoints": {
            name: [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in _weights(name)]
            for name in checkpoints
        },
    }


def _weights(checkpoint: str) -> list[Path]:
    folder = Path(checkpoint).expanduser()
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def _claim(folder: Path, key: dict[str, Any], overwrite: bool) -> None:
    """Make the folder for these rows. Raises ValueError where it cannot be made, or holds other rows."""
    note = folder / "key.json"
    text = json.dumps(key, indent=2) + "\n"
    try:
        if overwrite and note.is_file():  # never a folder that this program did not make
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder for probes, {folder}, cannot be made: {error.strerror}.") from None
    if note.is_file() and note.read_text() != text:
        raise ValueError(
            f"{folder} holds probes of other checkpoints or settings; give --overwrite to sample anew, or another "
            "--output."
        )
    note.write_text(text)
