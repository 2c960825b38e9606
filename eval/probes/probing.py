"""The probes of what a checkpoint's thinking is worth, run over the same problems for each checkpoint.

Each checkpoint answers held-out problems; every probe reads those completions or continues them. `probes.json` holds
the figures: of each checkpoint, and of each later one against the first, paired by problem. What they were made of lies
in `probes/N-STAGE.parquet`, to be read. Samples are kept as they come (`eval.sampling.cache`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.problem import Problem
from eval.measures import behaviour, lexical
from eval.measures.rows import ProblemRow
from eval.measures.sample_measures import Measures, as_json, by_task, changes, rates
from eval.probes import decomposition, faithfulness, injection, monitor, second_turn
from eval.probes.labelled import score_behaviour, score_lexical, score_monitor
from eval.sampling.candidate import Candidate, Candidates, check_lengths
from eval.sampling.progress import Progress, SampleCount
from eval.sampling.source import Source, held_out
from eval.sampling.subject import Completion, Subject, ask
from eval.sampling.workers import Workers
from eval.settings import ProbeSettings
from train.rollout.interface import Sampling

Stage = Callable[[Subject, list[Completion], int], Sequence[ProblemRow]]


def _each(describe: Callable[[Completion], ProblemRow]) -> Stage:
    return lambda subject, completions, seed: [describe(completion) for completion in completions]


def _each_traced(describe: Callable[[Completion], ProblemRow]) -> Stage:
    """Only of tasks that take a thinking apart; the others are left to the lexical stage."""
    return lambda subject, completions, seed: [describe(completion) for completion in completions if completion.traced]


def _in_words(subject: Subject, completions: list[Completion], seed: int) -> Sequence[ProblemRow]:
    """Signs in words, where the model knows words at all."""
    return [lexical.describe(completion) for completion in completions] if subject.can_read("Let me check.") else []


# Each stage: the function that makes its rows, its measures, and the most samples that it draws for a completion.
STAGES: dict[str, tuple[Stage, Measures[Any], int]] = {
    "behaviour": (_each_traced(behaviour.describe), behaviour.MEASURES, 0),
    "lexical": (_in_words, lexical.MEASURES, 0),
    "decomposition": (_each_traced(decomposition.describe), decomposition.MEASURES, 0),
    "monitor": (_each(monitor.describe), monitor.MEASURES, 0),
    "second_turn": (
        lambda subject, completions, _: second_turn.ask_again(subject, completions),
        second_turn.MEASURES,
        1,
    ),
    "injection": (injection.inject, injection.MEASURES, len(injection.ARMS)),
    "faithfulness": (faithfulness.follow, faithfulness.MEASURES, faithfulness.MOST_ARMS),
}


def expected(source: Source, settings: ProbeSettings, checkpoints: int) -> int:
    """The number of samples that `probe` counts as finished, for a progress bar."""
    completions = len(held_out(source, settings.problems, settings.split)) * settings.samples
    return checkpoints * completions * (1 + sum(most for _, _, most in STAGES.values()))


def probe(
    checkpoints: list[str],
    source: Source,
    settings: ProbeSettings,
    output: Path,
    *,
    base: str | None = None,
    cache: Path | None = None,
    workers: Workers | None = None,
    candidates: Candidates | None = None,
    temperatures: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run every probe on every checkpoint; writes and returns `probes.json`.

    `temperatures` gives each checkpoint one of its own, such as its best, in place of that of `settings`. Greedy
    completions are drawn once, since they are all alike.

    `base` says which of them is the untrained model, where the first is not. Samples are kept in the folder `cache`
    (default: `output`/cache). Raises ValueError (ModelError) for a checkpoint that cannot be loaded, before any
    sampling.
    """
    problems = held_out(source, settings.problems, settings.split)
    settings = replace(settings, problems=len(problems))
    candidates = candidates or Candidates(
        cache or output / "cache", chat=source.chat, system_prompt=source.system_prompt, workers=workers
    )
    fits = partial(check_lengths, problems=problems, source=source, new_tokens=settings.max_new_tokens)
    candidates.check(checkpoints, fits)  # whatever is missing is found out before the first minute is spent
    at = {name: (temperatures or {}).get(name, settings.temperature) for name in checkpoints}
    folder = output / "probes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder for probes, {folder}, cannot be made: {error.strerror}.") from None
    tables = []
    for number, checkpoint in enumerate(checkpoints):
        decoding = replace(settings, temperature=at[checkpoint], samples=settings.samples if at[checkpoint] else 1)
        tables.append(_run(candidates.load(checkpoint), problems, source, decoding, progress))
        for stage, rows in tables[-1].items():
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{number}-{stage}.parquet")
    results = {
        "settings": asdict(settings),
        "base": base,
        "checkpoints": [
            {
                "checkpoint": name,
                "temperature": at[name],
                **{stage: _figures(rows, stage) for stage, rows in table.items()},
            }
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
    """Precision and recall of the detectors on traces labelled by hand (`eval.probes.labelled`)."""
    tables = {"behaviour": score_behaviour(), "lexical": score_lexical(), "monitor": score_monitor()}
    return {
        name: {
            label: asdict(score) | {"precision": score.precision, "recall": score.recall}
            for label, score in scores.items()
        }
        for name, scores in tables.items()
    }


def _run(
    candidate: Candidate, problems: list[Problem], source: Source, settings: ProbeSettings, progress: Progress | None
) -> dict[str, Sequence[ProblemRow]]:
    """Every stage's rows of one checkpoint."""
    count = SampleCount(expected(source, settings, 1), progress)
    seed = settings.seed if settings.temperature else 0  # as all greedy samples are drawn
    sampling = Sampling(settings.max_new_tokens, candidate.stop_ids, temperature=settings.temperature, seed=seed)
    subject = Subject(candidate.backend, candidate.tokenizer, sampling, source.system_prompt, count)
    completions = ask(subject, problems, settings.samples)
    tables = {stage: run(subject, completions, settings.seed) for stage, (run, _, _) in STAGES.items()}
    count.fill_up()  # not every completion has a step to alter, or an answer to ask again for
    return tables


def _figures(rows: Sequence[ProblemRow], stage: str) -> dict[str, Any]:
    measures = STAGES[stage][1]
    return {
        "measures": as_json(rates(rows, measures)),
        "tasks": {task: as_json(rates(each, measures)) for task, each in by_task(rows).items()},
    }


def _changes(before: Sequence[ProblemRow], after: Sequence[ProblemRow], stage: str) -> dict[str, Any]:
    measures, start = STAGES[stage][1], by_task(before)
    return {
        "measures": as_json(changes(before, after, measures)),
        "tasks": {task: as_json(changes(start.get(task, []), rows, measures)) for task, rows in by_task(after).items()},
    }
