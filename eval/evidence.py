"""Sampling what the claims rest on: the two curves of a run, written as JSON into its evaluation folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.mixture import draw_problems
from data.problem import Problem
from eval.candidate import Candidate, load_candidate
from eval.measures import Row
from eval.samples import sample_checkpoint, sample_rows
from eval.source import Source, all_checkpoints, read_source, stages_of
from eval.test_curve import (
    ROOM,
    budgets,
    compare_sequential,
    crossover,
    parallel,
    sample_budget,
    sequential,
    thinking_ids,
)
from eval.train_curve import compute_spent, train_curve
from train.models import load_tokenizer
from train.prompts import messages, prompt_ids
from train.rollout.interface import Sampling

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is sampled. The defaults took a quickstart run 145 s of processor time, on one thread."""

    problems: int = 400  # of each checkpoint of the train-compute curve
    samples: int = 4
    budget_problems: int = 100  # at each budget, of each model
    budget_samples: int = 4
    parallel_problems: int = 100
    parallel_samples: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the first number that is too small."""
        for name in ("problems", "budget_problems", "parallel_problems"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 2, to have an interval.")
        for name in ("samples", "budget_samples", "parallel_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a run will be asked, all checked. `total` counts the samples, for a progress bar."""

    run: Path
    source: Source
    problems: list[Problem]
    checkpoints: dict[int, str]
    stages: dict[str, str]
    effort: Effort
    total: int


def plan(run: Path, effort: Effort) -> Plan:
    """Check a run and count its samples. Raises ValueError before anything is sampled."""
    checkpoints, stages = all_checkpoints(run), stages_of(run)
    source = read_source(run / "config.yaml")
    problems = draw_problems(source.parts, "test", effort.problems, source.split_seed, at_most=True)
    for name in dict.fromkeys([*checkpoints.values(), *stages.values()]):
        load_tokenizer(name, source.chat)
    compute_spent(run, list(checkpoints), 1)
    shared = [min(count, len(problems)) for count in (effort.budget_problems, effort.parallel_problems)]
    each = shared[0] * effort.budget_samples * len(budgets(1, 1 << 30)) + shared[1] * effort.parallel_samples
    total = len(checkpoints) * len(problems) * (effort.samples + 1) + len(stages) * each
    return Plan(run, source, problems, checkpoints, stages, effort, total)


def gather(planned: Plan, progress: Progress | None = None) -> None:
    """Sample both curves of a run and write `train-curve.json` and `test-curve.json` into RUN/evaluation."""
    folder = planned.run / "evaluation"
    folder.mkdir(exist_ok=True)
    for name, measured in (("train-curve", _train(planned, progress)), ("test-curve", _test(planned, progress))):
        (folder / f"{name}.json").write_text(json.dumps(measured, indent=2) + "\n")


def _train(planned: Plan, progress: Progress | None) -> dict[str, Any]:
    tables: list[tuple[str, list[Row]]] = []
    parameters = 0
    for name in planned.checkpoints.values():
        candidate = _load(planned, name)
        parameters = candidate.parameters or 0
        asked = (candidate.backend, candidate.tokenizer, planned.problems, planned.effort.samples)
        rows = sample_checkpoint(name, *asked, _sampling(planned, candidate), planned.source.system_prompt, progress)
        tables.append((name, rows))
    spent = compute_spent(planned.run, list(planned.checkpoints), parameters)
    return {"parameters": parameters} | train_curve(tables, spent)


def _test(planned: Plan, progress: Progress | None) -> dict[str, Any]:
    effort, source = planned.effort, planned.source
    few, wide = planned.problems[: effort.budget_problems], planned.problems[: effort.parallel_problems]
    forced: dict[str, list[list[Row]]] = {}
    drawn: dict[str, list[Row]] = {}
    limits = []
    for stage, name in planned.stages.items():
        candidate = _load(planned, name)
        sampling = _sampling(planned, candidate)
        longest = max(len(prompt_ids(candidate.tokenizer, messages(p, source.system_prompt))) for p in few)
        limits = budgets(source.max_new_tokens, (candidate.context or 1 << 30) - longest - ROOM)
        if thinking_ids(candidate.tokenizer):
            forced[stage] = [
                sample_budget(candidate, few, effort.budget_samples, sampling, source.system_prompt, limit, progress)
                for limit in limits
            ]
        asked = (candidate.backend, candidate.tokenizer, wide, effort.parallel_samples, sampling)
        drawn[stage] = sample_rows(name, *asked, source.system_prompt, progress)
    base = next(iter(planned.stages))
    measured: dict[str, Any] = {
        "stages": planned.stages,
        "base": base,
        "note": "" if base == "base" else "A model from scratch has no base model; the cold-started one stands for it.",
        "parallel": {stage: parallel(rows) for stage, rows in drawn.items()},
        "crossover": crossover(drawn[base], drawn["trained"], base),
    }
    if len(forced) < len(planned.stages):
        return measured | {
            "note": measured["note"] + " Its thinking tags are no single tokens: budgets cannot be kept."
        }
    curves = {stage: sequential(limits, rows) for stage, rows in forced.items()}
    compared = compare_sequential(forced[base], forced["trained"])
    trends = {name: curves["trained"][name] for name in ("rise", "extension")}
    return measured | {"sequential": curves} | trends | compared


def _load(planned: Plan, name: str) -> Candidate:
    return load_candidate(name, planned.run / "evaluation" / "cache", chat=planned.source.chat)


def _sampling(planned: Plan, candidate: Candidate) -> Sampling:
    return Sampling(planned.source.max_new_tokens, candidate.stop_ids, seed=planned.effort.seed)
