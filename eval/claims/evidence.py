"""Gathering what the claims of a run rest on: all of it is sampled, and written as JSON into RUN/evaluation.

The parts share their samples: what one has drawn the next finds (`eval.sampling.cache`).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.problem import Problem
from eval import evaluate
from eval.curves.thinking_curve import compare_sequential, crossover, parallel, sequential
from eval.curves.training_curve import compute_spent, train_curve
from eval.measures.rates import Row
from eval.probes import probing as probe
from eval.probes.budget import ROOM, Budget, budgets, keep_to, most_draws, rows
from eval.sampling.baselines import reads_words
from eval.sampling.candidate import check_lengths, load_candidate
from eval.sampling.progress import Counted, Progress
from eval.sampling.samples import sample_rows
from eval.sampling.source import Source, all_checkpoints, held_out, read_source, stages_of
from eval.sampling.subject import Subject, ask
from eval.sampling.workers import Workers
from train.model.loading import load_tokenizer
from train.rollout.interface import Sampling

BASELINE = "step-by-step"  # what the last claim compares with


def _option(default: int, says: str) -> Any:
    return field(default=default, metadata={"help": says})


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is sampled: the options of scripts/claims.py, each with its help."""

    problems: int = _option(400, "held-out problems that every checkpoint answers")
    samples: int = _option(4, "samples of each; one more is greedy")
    budget_problems: int = _option(100, "of these, how many are asked at each thinking budget")
    budget_samples: int = _option(4, "samples of each of them at each budget")
    parallel_problems: int = _option(100, "of these, how many are asked for pass@k and maj@k")
    parallel_samples: int = _option(32, "samples of each of them: the largest k")
    probe_problems: int = _option(200, "problems on which every checkpoint is probed")
    probe_samples: int = _option(2, "samples of each of them")
    seed: int = _option(0, "of the sampling")

    def __post_init__(self) -> None:
        """Raise ValueError naming the first number that is too small."""
        for name in ("problems", "budget_problems", "parallel_problems", "probe_problems"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 2, to have an interval.")
        for name in ("samples", "budget_samples", "parallel_samples", "probe_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a run will be asked, all checked. `prompted` is the model that it started from, if that reads words."""

    run: Path
    source: Source
    problems: list[Problem]
    checkpoints: dict[int, str]
    stages: dict[str, str]
    prompted: str | None
    effort: Effort

    @property
    def settings(self) -> evaluate.Settings:
        """How each checkpoint is evaluated."""
        effort = self.effort
        return evaluate.Settings(
            len(self.problems), effort.samples, max_new_tokens=self.source.max_new_tokens, seed=effort.seed
        )

    @property
    def probe_settings(self) -> probe.Settings:
        """How each checkpoint is probed."""
        return probe.Settings(
            self.effort.probe_problems,
            self.effort.probe_samples,
            max_new_tokens=self.source.max_new_tokens,
            seed=self.effort.seed,
        )

    @property
    def probed(self) -> list[str]:
        """The checkpoint before reinforcement, then the base model where that is another, then those after, by step."""
        before, *after = self.checkpoints.values()
        return list(dict.fromkeys([before, self.stages.get("base", before), *after]))

    @property
    def cache(self) -> Path:
        """Where the samples are kept."""
        return self.run / "evaluation" / "cache"


def plan(run: Path, effort: Effort, *, own_tasks: bool = False) -> Plan:
    """Check a run and count its samples. Raises ValueError before anything is sampled."""
    checkpoints, stages = all_checkpoints(run), stages_of(run)
    source = read_source(run / "config.yaml", own_tasks=own_tasks)
    problems = held_out(source, effort.problems)
    tokenizers = {name: load_tokenizer(name, source.chat) for name in [*checkpoints.values(), *stages.values()]}
    for name in stages.values():
        candidate = load_candidate(
            name, run / "evaluation" / "cache", chat=source.chat, system_prompt=source.system_prompt
        )
        check_lengths(candidate, problems, source, source.max_new_tokens)
    compute_spent(run, list(checkpoints), 1)
    prompted = stages["base"] if "base" in stages and reads_words(tokenizers[stages["base"]]) else None
    planned = Plan(run, source, problems, checkpoints, stages, prompted, effort)
    planned.settings, planned.probe_settings  # noqa: B018 - refuses what is out of range
    return planned


def expected(planned: Plan) -> int:
    """How many samples `gather` draws or finds, for a progress bar."""
    effort = planned.effort
    few, wide = (min(limit, len(planned.problems)) for limit in (effort.budget_problems, effort.parallel_problems))
    return (
        evaluate.expected(planned.source, planned.settings, len(planned.checkpoints))
        + len(planned.stages) * (_expected_of_budgets(effort, few) + wide * effort.parallel_samples)
        + probe.expected(planned.source, planned.probe_settings, len(planned.probed))
        + (evaluate.expected(planned.source, planned.settings, 2, BASELINE) if planned.prompted else 0)
    )


def _expected_of_budgets(effort: Effort, problems: int) -> int:
    return problems * effort.budget_samples * (1 + most_draws(budgets(1, 1 << 30)))


def gather(planned: Plan, workers: Workers | None = None, progress: Progress | None = None) -> None:
    """Sample everything and write it: results.json, train-curve.json, test-curve.json, probes.json, and the baseline's.

    Raises ValueError for what cannot be read or sampled; what was sampled by then is kept.
    """
    folder = planned.run / "evaluation"
    folder.mkdir(exist_ok=True)
    for name, measure in (("train-curve", _train), ("test-curve", _test)):
        measured = measure(planned, workers, progress)
        (folder / f"{name}.json").write_text(json.dumps(measured, indent=2) + "\n")
    shared: dict[str, Any] = {"cache": planned.cache, "workers": workers, "progress": progress}
    base = planned.stages.get("base")
    probe.probe(planned.probed, planned.source, planned.probe_settings, folder, base=base, **shared)
    if planned.prompted:
        pair = [planned.prompted, planned.stages["trained"]]
        evaluate.evaluate(pair, planned.source, planned.settings, folder / BASELINE, baseline=BASELINE, **shared)


def _train(planned: Plan, workers: Workers | None, progress: Progress | None) -> dict[str, Any]:
    """The curve over all checkpoints; the first and the last also make `results.json`."""
    tables: list[list[Row]] = []
    parameters = 0
    for name in planned.checkpoints.values():
        candidate = load_candidate(name, planned.cache, chat=planned.source.chat, workers=workers)
        parameters = candidate.parameters or 0
        tables.append(evaluate.sample(candidate, planned.problems, planned.source, planned.settings, progress=progress))
    names = list(planned.checkpoints.values())
    ends = [names[0], names[-1]], [tables[0], tables[-1]]
    evaluate.write_results(*ends, planned.settings, planned.run / "evaluation")
    spent = compute_spent(planned.run, list(planned.checkpoints), parameters)
    return {"parameters": parameters} | train_curve(list(zip(names, tables, strict=True)), spent)


def _test(planned: Plan, workers: Workers | None, progress: Progress | None) -> dict[str, Any]:
    """Both curves of every stage: thinking held to budgets, and several samples."""
    effort = planned.effort
    few, wide = planned.problems[: effort.budget_problems], planned.problems[: effort.parallel_problems]
    forced: dict[str, list[list[Row]]] = {}
    drawn: dict[str, list[Row]] = {}
    limits: list[Budget] = []
    for stage, name in planned.stages.items():
        candidate = load_candidate(name, planned.cache, chat=planned.source.chat, workers=workers)
        count = Counted(_expected_of_budgets(effort, len(few)), progress)
        sampling = Sampling(planned.source.max_new_tokens, candidate.stop_ids, seed=effort.seed)
        subject = Subject(candidate.backend, candidate.tokenizer, sampling, planned.source.system_prompt, count)
        longest = max(len(subject.prompt(problem)) for problem in few)
        limits = budgets(sampling.max_new_tokens, (candidate.context or 1 << 30) - longest - ROOM)
        free = ask(subject, few, effort.budget_samples)
        forced[stage] = [rows(subject, keep_to(subject, free, budget)) for budget in limits]
        count.fill_up()
        asked = (candidate.backend, candidate.tokenizer, wide, effort.parallel_samples, sampling)
        drawn[stage] = sample_rows(name, *asked, planned.source.system_prompt, progress)
    base = next(iter(planned.stages))
    curves = {stage: sequential(limits, table) for stage, table in forced.items()}
    return {
        "stages": planned.stages,
        "base": base,
        "note": "" if base == "base" else "A model from scratch has no base model; the cold-started one stands for it.",
        "parallel": {stage: parallel(table) for stage, table in drawn.items()},
        "crossover": crossover(drawn[base], drawn["trained"], base),
        "sequential": curves,
        **{name: curves["trained"][name] for name in ("rise", "extension")},
        **compare_sequential(forced[base], forced["trained"]),
    }
