"""Gathers the evidence for a run's claims: samples all of it and writes it as JSON into RUN/evaluation.

The parts share their samples through the cache (`eval.sampling.cache`).
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.problem import Problem
from eval import evaluate
from eval.claims.plan import BASELINE, DRIFT, HELD, Plan, expected
from eval.curves.compute import compute_spent
from eval.curves.equal_compute import ENOUGH, at_equal_compute, flops_at_start, flops_of
from eval.curves.thinking_curve import (
    area_between,
    beyond_start,
    compare_sequential,
    crossover,
    parallel,
    parallel_areas,
    reliability,
    sequential,
    thinking_points,
)
from eval.curves.training_curve import Sampled, train_curve
from eval.measures.drift import kl_divergence
from eval.measures.estimators import Estimate, paired_difference
from eval.measures.sample_measures import as_json, compare, correct_by_problem
from eval.probes import probing as probe
from eval.probes.budget import ROOM, Budget, budgets, keep_to, rows
from eval.sampling.candidate import Candidates
from eval.sampling.decodings import Decodings, accuracy, best_temperature
from eval.sampling.logprobs import completion_logprobs
from eval.sampling.progress import Progress, SampleCount
from eval.sampling.samples import sample_rows
from eval.sampling.subject import Completion, Subject, ask
from eval.sampling.workers import Workers
from train.files.untrusted import read_json
from train.model.prompts import token_counts
from train.rollout.interface import Sampling


def gather(plan: Plan, workers: Workers | None = None, progress: Progress | None = None) -> None:
    """Sample everything and write it: results.json, train-curve.json, test-curve.json, probes.json, and the baseline's.

    The last three as far as the claims in question need them; controls.json where there are any. Raises ValueError for
    what cannot be read or sampled; what was sampled by then is kept.
    """
    folder = plan.run / "evaluation"
    folder.mkdir(exist_ok=True)
    kept = _kept_controls(plan) if plan.controls else {}
    candidates = Candidates(plan.cache, chat=plan.source.chat, system_prompt=plan.source.system_prompt, workers=workers)
    work = Work(plan, candidates, SampleCount(expected(plan), progress))
    tables = work.evaluate(plan.checkpoints.values())
    if plan.samples_base:
        work.evaluate([plan.stages["base"]])
    _write(folder / "train-curve.json", _train(work, tables))
    if "test-curve" in plan.files:
        _write(folder / "test-curve.json", _test(work))
    if plan.controls:
        _write(folder / "controls.json", kept | _controls(work))
    shared: dict[str, Any] = {"candidates": candidates, "progress": work.count}
    if "probes" in plan.files:
        base = plan.stages.get("base")
        best = {name: table.best for name, table in work.tables.items()}
        probe.probe(plan.probed, plan.source, plan.probe_settings, folder, base=base, temperatures=best, **shared)
    if plan.prompted:
        pair = [plan.prompted, plan.stages["trained"]]
        evaluate.evaluate(pair, plan.source, plan.settings, folder / BASELINE, baseline=BASELINE, **shared)
    work.count.fill_up()


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


@dataclass
class Work:
    """The gathering of one run's evidence: what has been sampled by now, by the name of the model."""

    plan: Plan
    candidates: Candidates
    count: SampleCount
    tables: dict[str, Decodings] = field(default_factory=dict)

    def evaluate(self, names: Iterable[str]) -> list[Decodings]:
        """Sample some models; at every temperature those before and after RL, and less those between."""
        plan = self.plan
        ends = (next(iter(plan.checkpoints.values())), plan.stages["trained"])
        for name in names:
            if name not in self.tables:
                settings = plan.between_settings if name in plan.between else plan.settings
                arguments = (plan.problems, plan.source, settings)
                self.tables[name] = evaluate.sample(
                    self.candidates.load(name), *arguments, progress=self.count, everywhere=name in ends
                )
        return [self.tables[name] for name in names]

    def subject(self, name: str, temperature: float) -> Subject:
        """A model to be asked at a temperature."""
        candidate, plan = self.candidates.load(name), self.plan
        seed = plan.effort.seed if temperature else 0  # the seed of all greedy samples
        limit = plan.source.max_new_tokens
        sampling = Sampling(limit, candidate.stop_ids, temperature=temperature, seed=seed)
        return Subject(candidate.backend, candidate.tokenizer, sampling, plan.source.system_prompt, self.count)


def _train(work: Work, tables: list[Decodings]) -> dict[str, Any]:
    """The curve over all checkpoints; the first and the last also make `results.json`."""
    plan, settings = work.plan, work.plan.settings
    names = list(plan.checkpoints.values())
    parameters = work.candidates.load(names[-1]).parameters or 0
    ends = [names[0], names[-1]], [tables[0], tables[-1]]
    evaluate.write_results(*ends, settings, plan.run / "evaluation")
    compute = compute_spent(plan.run, list(plan.checkpoints), parameters)
    sampled = [
        Sampled(name, evaluate.plain_rows(table, settings), table.best_rows, table.best)
        for name, table in zip(names, tables, strict=True)
    ]
    hottest = {stage: _hottest(work, table) for stage, table in (("start", tables[0]), ("trained", tables[-1]))}
    curve = {"parameters": parameters, **train_curve(sampled, compute), "hottest": hottest}
    return curve | as_json({"kl_to_start": _drift(work)})


def _hottest(work: Work, table: Decodings) -> dict[str, Any]:
    """Whether a model's best decoding may lie above the hottest temperature that it was sampled at."""
    return {
        "temperatures": work.plan.effort.temperatures,
        "best": table.best,
        "upper_bound": max(accuracy(sampled).high for sampled in table.rows.values()),
        **as_json({"fall": table.fall}),
    }


def _drift(work: Work) -> Estimate | None:
    """KL from the trained model to the one before RL, over one completion of each of the first problems."""
    plan = work.plan
    start, trained = next(iter(plan.checkpoints.values())), plan.stages["trained"]
    subject = work.subject(trained, 1.0)
    completions = ask(subject, plan.problems.report[:DRIFT], 1)
    pairs = [(subject.prompt(one.problem), one.ids) for one in completions]
    return kl_divergence(completion_logprobs(trained, pairs), completion_logprobs(start, pairs))


def _test(work: Work) -> dict[str, Any]:
    """Both curves of every stage at its best decoding: thinking held to budgets, and several samples.

    Several samples that are all greedy would be one, so those are drawn at the best temperature above 0.
    """
    plan, effort = work.plan, work.plan.effort
    few, wide = plan.problems.report[: effort.budget_problems], plan.problems.report[: effort.parallel_problems]
    base = next(iter(plan.stages))
    start = "cold-started" if "cold-started" in plan.stages else base
    several = {stage: _best_above_zero(work.tables[name]) for stage, name in plan.stages.items()}
    freely = {stage: _freely(work, name, few) for stage, name in plan.stages.items()}
    habit = _mean_thinking(*freely[start])
    limits = _limits(work, few, habit)
    forced = {
        stage: [rows(to, keep_to(to, completions, limit)) for limit in limits]
        for stage, (to, completions) in freely.items()
    }
    samples = {
        stage: sample_rows(name, work.subject(name, several[stage]), wide, effort.parallel_samples)
        for stage, name in plan.stages.items()
    }
    curves = {stage: sequential(limits, table) for stage, table in forced.items()}
    equal = area_between(thinking_points(forced[start]), thinking_points(forced["trained"]))
    return {
        "stages": plan.stages,
        "base": base,
        "start": start,
        "habit": habit,
        "temperatures": {
            stage: {"best": work.tables[name].best, "several": several[stage]} for stage, name in plan.stages.items()
        },
        "note": "" if base == "base" else "A model from scratch has no base model; the cold-started one stands for it.",
        "parallel": {stage: parallel(table) for stage, table in samples.items()},
        "parallel_areas": parallel_areas(samples[start], samples["trained"]),
        "cover": {stage: reliability(table) for stage, table in samples.items()},
        "crossover": crossover(samples[base], samples["trained"], base),
        "sequential": curves,
        "held": _held(freely[start], freely["trained"]),
        "equal_tokens": None if equal is None else asdict(equal),
        **{name: curves["trained"][name] for name in ("rise", "extension", "beyond_habit", "room", "wait")},
        **compare_sequential(forced[base], forced["trained"]),
        **beyond_start(limits, rows(*freely[start]), forced["trained"]),
    }


def _best_above_zero(table: Decodings) -> float:
    """The best temperature at which two samples may differ; 1 where the grid has none."""
    sampled = {temperature: rows for temperature, rows in table.choices.items() if temperature}
    return best_temperature(sampled) if sampled else table.best or 1.0


def _freely(work: Work, name: str, problems: list[Problem]) -> tuple[Subject, list[Completion]]:
    """A model at its best decoding, and its completions; greedy ones are all alike, so one is enough."""
    temperature = work.tables[name].best
    subject = work.subject(name, temperature)
    return subject, ask(subject, problems, work.plan.effort.budget_samples if temperature else 1)


def _held(start: tuple[Subject, list[Completion]], trained: tuple[Subject, list[Completion]]) -> dict[str, Any]:
    """How much of the gain is longer thinking alone: the start, made to think as long as the trained model on average.

    Its thinking may not end before `minimum` tokens, as far as HELD words of doubt carry it. `by_thinking` is what that
    alone changes, `beyond` the trained model minus the start so held.
    """
    subject, completions = start
    minimum = _mean_thinking(*trained)
    budget = Budget("held to think", max(minimum, subject.sampling.max_new_tokens), HELD, minimum=minimum)
    free, forced, after = (
        correct_by_problem(rows(*each)) for each in (start, (subject, keep_to(subject, completions, budget)), trained)
    )
    differences = {"by_thinking": paired_difference(free, forced), "beyond": paired_difference(forced, after)}
    return {"minimum": minimum, **as_json(differences)}


def _mean_thinking(subject: Subject, completions: list[Completion]) -> int:
    """The mean tokens of thinking, rounded."""
    counts = [token_counts(subject.tokenizer, completion.ids, subject.opened)[0] for completion in completions]
    return round(sum(counts) / len(counts))


def _limits(work: Work, problems: list[Problem], habit: int) -> list[Budget]:
    """The budgets that fit into the context of every stage: all are held to the same ones."""
    room = 1 << 30
    for name in work.plan.stages.values():
        subject = work.subject(name, 0.0)
        longest = max(len(subject.prompt(problem)) for problem in problems)
        room = min(room, (work.candidates.load(name).context or 1 << 30) - longest - ROOM)
    return budgets(work.plan.source.max_new_tokens, room, habit)


def _kept_controls(plan: Plan) -> dict[str, Any]:
    """What controls.json holds already, without comparisons of another trained checkpoint. Raises ValueError.

    A control that is not given again stays: one that spoke against RL must not vanish unnoticed.
    """
    path = plan.run / "evaluation" / "controls.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; delete it, and give --against of every control.")
    trained = plan.stages["trained"]
    return {
        name: figures
        for name, figures in content.items()
        if not isinstance(figures, dict) or Path(str(figures.get("trained", trained))).name == Path(trained).name
    }


def _controls(work: Work) -> dict[str, Any]:
    """Each control's checkpoint of equal compute, and the trained model against it, each at its best decoding.

    `enough` says whether the control had that compute (ENOUGH of it, to be exact).
    """
    plan = work.plan
    trained = plan.stages["trained"]
    parameters = work.candidates.load(trained).parameters or 0
    (flops,) = flops_of(plan.run, [Path(trained)], parameters)
    start = flops_at_start(plan.run, parameters)
    results = {}
    for control in plan.controls:
        point = at_equal_compute(control.run, flops, parameters)
        (table,) = work.evaluate([point.checkpoint])
        ratio = (point.flops - start) / (flops - start)
        rows, best = work.tables[trained].best_rows, accuracy(table.best_rows)
        results[control.name] = {
            "run": str(control.run),
            "trained": trained,
            "checkpoint": point.checkpoint,
            "flops": point.flops - start,
            "flops_of_reinforcement": flops - start,
            "enough": ratio >= ENOUGH,
            "best_temperature": table.best,
            "accuracy": asdict(best),
            **as_json({"difference": compare(table.best_rows, rows)["accuracy"]}),
        }
    return results
