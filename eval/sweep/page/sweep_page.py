"""A sweep's page: one file that loads nothing, with the ranking, the curves, the settings, and what went wrong."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from eval import table
from eval.report.plots import TASK_COLOURS, VARIABLES
from eval.sweep.page import drawings
from eval.sweep.ranking.results import Entry, Results
from eval.sweep.ranking.words import cautions, verdict
from eval.sweep.setup.read import STORED
from eval.sweep.setup.space import show_value
from train.files.atomic import write_text
from train.page.html import STYLE, environment, own, policy_hash

HERE = Path(__file__).parent
WIDTH = 120  # of a strip of seeds, in its own units
SIGNS = "●■▲◆▼"  # as the plots mark the first of the ranking


def write_page(results: Results) -> None:
    """Write report.html into the sweep's folder, and its plots as PNG and SVG into `report` beside it."""
    curves, parallel, importance = drawings.curves(results), drawings.parallel(results), drawings.importance(results)
    slices = drawings.slices(results)
    script = own(HERE / "page.js")
    best = results.folder / "best.yaml"
    template = environment(HERE).get_template("page.html")
    page = template.render(
        results=results,
        spec=results.spec,
        folder=results.folder,
        style=own(STYLE) + own(HERE / "page.css"),
        script=script,
        script_hash=policy_hash(script),
        facts=_facts(results),
        verdict=verdict(results),
        cautions=cautions(results),
        ties=results.ties,
        judged=_judged(results),
        winner=_winner(results),
        fields=[dimension.field for dimension in results.spec.space],
        marks=[(VARIABLES[colour], sign) for colour, sign in zip(TASK_COLOURS, SIGNS, strict=True)],
        strips=_strips(results),
        hours={entry.number: _time(_seconds(entry)) for entry in (*results.ranked, *results.others)},
        shown=lambda entry: [show_value(entry.trial.params[d.field]) for d in results.spec.space],
        table=table,
        metric=results.spec.metric.partition("/")[0],
        told=asdict,
        last=lambda entry: _last(results, entry),
        curves=curves,
        unfinished=any(entry.curve for entry in results.others),
        parallel=parallel,
        slices=slices,
        importance=importance,
        attempts=_failures(results),
        interrupted=_interrupted(results),
        best=best.read_text(encoding="utf-8") if results.ranked else "",
        run=results.ranked[0].replicas[0].folder if results.ranked else "",
        stored=(results.folder / STORED).read_text(encoding="utf-8"),
    )
    write_text(results.folder / "report.html", page)
    beside = results.folder / "report"
    beside.mkdir(exist_ok=True)
    for plot in (curves, parallel, importance, *(plot for _, plot in slices)):
        if plot is not None:
            plot.save(beside)


def _facts(results: Results) -> list[tuple[str, str]]:
    spec, entries = results.spec, (*results.ranked, *results.others)
    pruned_count = sum(entry.trial.pruned_at is not None for entry in entries)
    counts = f"{len(results.ranked)} of {spec.count} complete" + (f", {pruned_count} pruned" if pruned_count else "")
    began = [a.began for entry in entries for replica in entry.replicas for a in replica.record.attempts]
    pairs = [
        ("config", spec.config),
        ("method", spec.method + (f", pruned by {spec.prune.method}" if spec.prune else "")),
        ("trials", counts),
        ("seeds", ", ".join(map(str, spec.seeds))),
        ("computing", _time(sum(map(_seconds, entries)))),
    ]
    if began:
        first = datetime.fromisoformat(min(began))
        pairs.append(("started", f"{first.day} {first:%B %Y, %H:%M} UTC"))
    return pairs


def _judged(results: Results) -> str:
    better = "more" if results.spec.direction == "maximize" else "less"
    return (
        f"By {results.spec.measured}, {better} is better, of each run's last checkpoint on {results.problems} "
        "validation problems, which are neither trained on nor in the test set."
    )


def _winner(results: Results) -> list[tuple[str, str]]:
    params = results.ranked[0].trial.params if results.ranked else {}
    return [(field, show_value(value)) for field, value in params.items()]


def _strips(results: Results) -> dict[int, dict[str, Any]]:
    """Where each ranked trial's seeds, their mean and its interval lie on a strip that is the same for all."""
    values = [r.estimate.value for entry in results.ranked for r in entry.replicas if r.estimate]
    if not values:
        return {}
    margin = 0.4 * (max(values) - min(values)) or 0.05
    low, high = min(values) - margin, max(values) + margin

    def place(value: float) -> str:
        return f"{6 + (WIDTH - 12) * (min(max(value, low), high) - low) / (high - low):.1f}"

    strips = {}
    metric, _, _ = results.spec.metric.partition("/")
    for entry in results.ranked:
        assert entry.estimate is not None  # it is ranked
        figures = [(r.seed, r.estimate) for r in entry.replicas if r.estimate]
        says = [table.show(metric, {key: e.value for key in ("value", "low", "high")}) for _, e in figures]
        strips[entry.number] = {
            "low": place(entry.estimate.low),
            "mean": place(entry.estimate.value),
            "high": place(entry.estimate.high),
            "seeds": [(place(e.value), f"seed {seed}: {text}") for (seed, e), text in zip(figures, says, strict=True)],
            "says": ", ".join(says),
        }
    return strips


def _last(results: Results, entry: Entry) -> str:
    """The last point of a curve that did not come to its end."""
    if not entry.curve:
        return "–"
    step, value = list(entry.curve.items())[-1]
    metric, _, _ = results.spec.metric.partition("/")
    return f"{table.show(metric, {key: value for key in ('value', 'low', 'high')})} at step {step}"


def _failures(results: Results) -> list[dict[str, Any]]:
    """The attempts that did not end as they should, in the order of the trials."""
    return [
        {
            "trial": entry.number,
            "seed": replica.seed,
            "outcome": attempt.outcome,
            "ended": attempt.ended,
            "said": "\n".join(attempt.said),
            "log": replica.folder.with_name(f"{replica.folder.name}.log"),
        }
        for entry in sorted((*results.ranked, *results.others), key=lambda entry: entry.number)
        for replica in entry.replicas
        for attempt in replica.record.attempts
        if attempt.failed or attempt.code in (2, 3)
    ]


def _interrupted(results: Results) -> str:
    attempts = [a for e in (*results.ranked, *results.others) for r in e.replicas for a in r.record.attempts]
    cut = sum(attempt.outcome.startswith(("lost", "stopped by the sweep")) for attempt in attempts)
    return f"Beside these, runs were cut off {cut} times and went on where they were." if cut else ""


def _seconds(entry: Entry) -> float:
    """How long its runs were computed, all attempts together."""
    return sum(
        (datetime.fromisoformat(attempt.ended) - datetime.fromisoformat(attempt.began)).total_seconds()
        for replica in entry.replicas
        for attempt in replica.record.attempts
        if attempt.ended
    )


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
