"""Evaluate checkpoints on the same held-out problems with the same decoding, and compare them pair by pair."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.mixture import Split
from data.problem import Problem
from eval.measures.rates import Row, as_json, compare, measure
from eval.sampling.baselines import ask_baseline, check_baseline
from eval.sampling.candidate import Candidate, check_lengths, load_candidate
from eval.sampling.progress import Progress
from eval.sampling.samples import COLUMNS, sample_checkpoint
from eval.sampling.source import MAX_NEW_TOKENS, Source, held_out
from eval.sampling.workers import Workers
from train.config.checks import BACKENDS
from train.config.run_config import PROBLEMS
from train.config.values import Range, checked_values
from train.files.atomic import write_text
from train.rollout.interface import Sampling

SAMPLES = 100_000  # of a problem


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of every checkpoint alike."""

    problems: int = field(default=400, metadata={"range": Range(least=2, most=PROBLEMS)})
    samples: int = field(default=4, metadata={"range": Range(least=1, most=SAMPLES)})
    temperature: float = field(default=1.0, metadata={"range": Range(least=0, words="0 (greedy) or more")})
    max_new_tokens: int = field(default=MAX_NEW_TOKENS, metadata={"range": Range(least=1)})
    seed: int = field(default=0, metadata={"range": Range(least=0, below=2**63, words="0 or more, of 63 bits")})
    split: Split = "test"
    backend: str = field(default="engine", metadata={"choices": BACKENDS})

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        checked_values(self)


def expected(source: Source, settings: Settings, checkpoints: int, baseline: str | None = None) -> int:
    """How many samples `evaluate` draws or finds, for a progress bar."""
    problems = len(held_out(source, settings.problems, settings.split))
    return (checkpoints + (baseline == "step-by-step")) * problems * (settings.samples + 1)


def evaluate(
    checkpoints: list[str],
    source: Source,
    settings: Settings,
    output: Path,
    *,
    cache: Path | None = None,
    tokenizer: str | None = None,
    baseline: str | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Sample every checkpoint, measure each, compare each with the first; writes parquet and `results.json`.

    A task that has fewer held-out problems than its share of `settings.problems` gives all it has. The first checkpoint
    is asked as `baseline` says (one of `eval.sampling.baselines.BASELINES`), where one is given; the others never are.

    Samples are kept in the folder `cache` (default: `output`/cache) as they come: an evaluation that was cut off, or
    asks for some of the same again, draws only the rest.
    """
    problems = held_out(source, settings.problems, settings.split)
    settings = replace(settings, problems=len(problems))
    cache = cache or output / "cache"
    spoken: dict[str, Any] = {"backend": settings.backend, "tokenizer": tokenizer, "chat": source.chat}
    spoken["system_prompt"] = source.system_prompt
    for number, checkpoint in enumerate(checkpoints):  # whatever is missing is found out before the first minute
        candidate = load_candidate(checkpoint, cache, **spoken)
        check_lengths(candidate, problems, source, settings.max_new_tokens)
        if baseline and not number:
            check_baseline(baseline, candidate, source)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder for results, {output}, cannot be made: {error.strerror}.") from None
    tables: list[list[Row]] = []
    for number, checkpoint in enumerate(checkpoints):
        candidate = load_candidate(checkpoint, cache, workers=workers, **spoken)
        tables.append(sample(candidate, problems, source, settings, None if number else baseline, progress))
    names = [f"{checkpoints[0]} ({baseline})", *checkpoints[1:]] if baseline else checkpoints
    return write_results(names, tables, settings, output, baseline)


def sample(
    candidate: Candidate,
    problems: list[Problem],
    source: Source,
    settings: Settings,
    baseline: str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """The rows of one checkpoint: each problem `settings.samples` times, and once greedily."""
    sampling = Sampling(
        settings.max_new_tokens, candidate.stop_ids, temperature=settings.temperature, seed=settings.seed
    )
    if baseline:
        return ask_baseline(baseline, candidate, problems, source, settings.samples, sampling, progress)
    return sample_checkpoint(
        *(candidate.name, candidate.backend, candidate.tokenizer, problems, settings.samples, sampling),
        *(source.system_prompt, progress),
    )


def write_results(
    names: list[str], tables: list[list[Row]], settings: Settings, output: Path, baseline: str | None = None
) -> dict[str, Any]:
    """Write each checkpoint's rows as parquet, and what they come to as `results.json`, which is returned."""
    for number, rows in enumerate(tables):
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), output / f"samples-{number}.parquet")
    results = summarise(names, tables, settings) | {"baseline": baseline}
    write_text(output / "results.json", json.dumps(results, indent=2) + "\n")
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
