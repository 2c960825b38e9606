"""Evaluate checkpoints on the same held-out problems, each at its best decoding, and compare them pair by pair."""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.problem import Problem
from data.task import Split
from eval.measures.rows import SampleRow
from eval.measures.sample_measures import as_json, by_task, compare, measure
from eval.sampling.baselines import ask_baseline, check_baseline
from eval.sampling.candidate import Candidate, Candidates, check_lengths
from eval.sampling.decodings import Decodings, accuracy, best_temperature, unmarked
from eval.sampling.progress import Progress
from eval.sampling.samples import COLUMNS, sample_rows
from eval.sampling.source import Source, held_out
from eval.sampling.subject import Subject
from eval.sampling.workers import Workers
from eval.settings import Settings
from train.files.atomic import write_text
from train.rollout.interface import Sampling

CHOSEN_ON: dict[Split, Split] = {"test": "validation", "validation": "train"}  # where the best decoding is chosen


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems for the report, and others for the choice of the best decoding (none where there is only one)."""

    report: list[Problem]
    choice: list[Problem]


def draw(source: Source, settings: Settings) -> Problems:
    """The problems of an evaluation. Raises ValueError where a task has none to choose the decoding on."""
    problems = held_out(source, settings.problems, settings.split, settings.skip)
    if len(settings.temperatures) == 1:
        return Problems(problems, [])
    split = CHOSEN_ON[settings.split]
    try:
        return Problems(problems, held_out(source, settings.validation_problems, split))
    except ValueError as error:
        raise ValueError(
            f"The best decoding is chosen on {split} problems, and there are none: {error} Give one temperature, such "
            "as --temperatures 1."
        ) from None


def expected(source: Source, settings: Settings, checkpoints: int, baseline: str | None = None) -> int:
    """The number of samples that `evaluate` draws or finds, for a progress bar."""
    problems = draw(source, settings)
    grid = {settings.temperature, 0.0, *settings.temperatures}
    report_count = sum(map(settings.samples_at, grid)) * len(problems.report)
    choice_count = sum(settings.validation_samples if t else 1 for t in settings.temperatures) * len(problems.choice)
    count = checkpoints * (report_count + choice_count)
    if baseline:  # the first checkpoint gives a greedy sample beside those of each temperature, and answers twice
        asked = (settings.samples + 1) * len(grid) * len(problems.report)
        asked += (settings.validation_samples + 1) * len(settings.temperatures) * len(problems.choice)
        count += (2 if baseline == "step-by-step" else 1) * asked - report_count - choice_count
    return count


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
    candidates: Candidates | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Sample every checkpoint, measure each, compare each with the first; writes parquet and `results.json`.

    A task that has fewer held-out problems than its share of `settings.problems` gives all it has. The first checkpoint
    is asked as `baseline` says (one of `eval.settings.BASELINES`), where one is given; the others never are.

    Samples are kept in the folder `cache` (default: `output`/cache) as they come: an evaluation that was cut off, or
    asks for some of the same again, draws only the rest. `candidates` are models that are loaded already; they bring
    their own cache, back end and workers.
    """
    problems = draw(source, settings)
    settings = replace(settings, problems=len(problems.report))
    candidates = candidates or Candidates(
        cache or output / "cache",
        backend=settings.backend,
        tokenizer=tokenizer,
        chat=source.chat,
        system_prompt=source.system_prompt,
        workers=workers,
    )
    fits = partial(check_lengths, problems=problems.report, source=source, new_tokens=settings.max_new_tokens)
    candidates.check(checkpoints, fits)  # whatever is missing shows before the first minute
    if baseline:
        check_baseline(baseline, candidates.load(checkpoints[0]), source)
    for folder, what in ((cache, "samples"), (output, "results")):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"The folder for {what}, {folder}, cannot be made: {error.strerror}.") from None
    tables = [
        sample(candidates.load(checkpoint), problems, source, settings, None if number else baseline, progress)
        for number, checkpoint in enumerate(checkpoints)
    ]
    names = [f"{checkpoints[0]} ({baseline})", *checkpoints[1:]] if baseline else checkpoints
    return write_results(names, tables, settings, output, baseline)


def sample(
    candidate: Candidate,
    problems: Problems,
    source: Source,
    settings: Settings,
    baseline: str | None = None,
    progress: Progress | None = None,
    *,
    everywhere: bool = True,
) -> Decodings:
    """The samples of one checkpoint at every temperature, or, unless `everywhere`, only at those that are needed.

    Needed are the best, the one of `settings`, and greedy decoding.
    """

    def rows_at(temperature: float, subset: list[Problem], samples: int) -> list[SampleRow]:
        sampling = Sampling(
            settings.max_new_tokens,
            candidate.stop_ids,
            temperature=temperature,
            seed=settings.seed if temperature else 0,
        )
        if baseline:  # which draws greedy samples beside those at any other temperature
            sampling = replace(sampling, temperature=temperature or settings.temperature or 1.0, seed=settings.seed)
            rows = ask_baseline(baseline, candidate, subset, source, samples, sampling, progress)
            return [row for row in rows if row["greedy"] == (temperature == 0)]
        subject = Subject(candidate.backend, candidate.tokenizer, sampling, source.system_prompt, progress)
        rows = sample_rows(candidate.name, subject, subset, samples if temperature else 1)
        # A greedy sample has the number behind the last of the others, so that a number means one sample.
        return rows if temperature else [row | {"sample": samples} for row in rows]

    grid = settings.temperatures if problems.choice else ()
    choices = {t: rows_at(t, problems.choice, settings.validation_samples) for t in grid}
    best = best_temperature(choices) if choices else settings.temperatures[0]
    temperatures = {settings.temperature, 0.0, best} | (set(settings.temperatures) if everywhere else set())
    return Decodings({t: rows_at(t, problems.report, settings.samples) for t in sorted(temperatures)}, choices, best)


def write_results(
    names: list[str], tables: list[Decodings], settings: Settings, output: Path, baseline: str | None = None
) -> dict[str, Any]:
    """Write each checkpoint's rows as parquet and their measures as `results.json`, whose content is returned.

    The parquet holds the samples at `settings.temperature` and the greedy ones.
    """
    for number, table in enumerate(tables):
        rows = pa.Table.from_pylist(plain_rows(table, settings), schema=COLUMNS)
        pq.write_table(rows, output / f"samples-{number}.parquet")
    results = summarise(names, tables, settings) | {"baseline": baseline}
    write_text(output / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def plain_rows(table: Decodings, settings: Settings) -> list[SampleRow]:
    """The samples of a checkpoint at `settings.temperature`, and its greedy ones behind them."""
    return [*unmarked(table.rows[settings.temperature]), *table.rows[0.0]]


def summarise(checkpoints: list[str], tables: list[Decodings], settings: Settings) -> dict[str, Any]:
    """The content of `results.json`: a row a checkpoint, and a row for each later checkpoint against the first."""
    return {
        "settings": asdict(settings),
        "checkpoints": [_checkpoint(name, table, settings) for name, table in zip(checkpoints, tables, strict=True)],
        "pairs": [
            _pair(checkpoints[0], tables[0], name, table, settings)
            for name, table in zip(checkpoints[1:], tables[1:], strict=True)
        ],
    }


def _checkpoint(name: str, table: Decodings, settings: Settings) -> dict[str, Any]:
    """Plain figures under their names for a quick reader, and the estimates whole under `measures`.

    `best` has the same measures at the best decoding, `decodings` the accuracy at every temperature.
    """
    rows, best_rows = plain_rows(table, settings), table.best_rows
    estimates, best = measure(rows), accuracy(best_rows)
    accuracy_here = estimates["accuracy"]
    assert accuracy_here is not None
    plain = {key: None if estimate is None else estimate.value for key, estimate in estimates.items()}
    return {
        "checkpoint": name,
        **plain,
        "interval": [accuracy_here.low, accuracy_here.high],
        "best_temperature": table.best,
        "best_accuracy": best.value,
        "best_interval": [best.low, best.high],
        "measures": as_json(estimates),
        "tasks": {task: as_json(measure(each)) for task, each in by_task(rows).items()},
        "best": {
            "measures": as_json(measure(best_rows)),
            "tasks": {task: as_json(measure(each)) for task, each in by_task(best_rows).items()},
        },
        "decodings": [_decoding(table, temperature) for temperature in sorted({*table.rows, *table.choices})],
    }


def _decoding(table: Decodings, temperature: float) -> dict[str, Any]:
    """Accuracy at one temperature on the problems reported on (all, and by task), and on those for the choice."""
    rows, choice = table.rows.get(temperature), table.choices.get(temperature)
    return {
        "temperature": temperature,
        "accuracy": asdict(accuracy(rows)) if rows else None,
        "tasks": {task: asdict(accuracy(each)) for task, each in by_task(rows or []).items()},
        "validation": asdict(accuracy(choice)) if choice else None,
    }


def _pair(before: str, table_before: Decodings, after: str, table: Decodings, settings: Settings) -> dict[str, Any]:
    """The changes at `settings.temperature`, and under `best` those with each checkpoint at its best decoding."""
    here, there = plain_rows(table_before, settings), plain_rows(table, settings)
    changes, best_changes = compare(here, there), compare(table_before.best_rows, table.best_rows)
    accuracy_here, best = changes["accuracy"], best_changes["accuracy"]
    assert accuracy_here is not None and best is not None
    return {
        "before": before,
        "after": after,
        "difference": accuracy_here.value,
        "interval": [accuracy_here.low, accuracy_here.high],
        "best_temperatures": [table_before.best, table.best],
        "best_difference": best.value,
        "best_interval": [best.low, best.high],
        "problems": accuracy_here.count,
        "samples": settings.samples,
        "measures": as_json(changes),
        "tasks": _changes_by_task(here, there),
        "best": {"measures": as_json(best_changes), "tasks": _changes_by_task(table_before.best_rows, table.best_rows)},
    }


def _changes_by_task(before: list[SampleRow], after: list[SampleRow]) -> dict[str, Any]:
    start = by_task(before)
    return {task: as_json(compare(start.get(task, []), rows)) for task, rows in by_task(after).items()}
