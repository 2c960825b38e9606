"""The page itself: a run's figures, plots and rollouts put into the template."""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from eval import table
from eval.claims.conditions import SMALLEST
from eval.claims.judging import judge_claims
from eval.measures.sample_measures import SAMPLE_MEASURES
from eval.report import plots, series
from eval.report.examples import choose
from eval.report.explorer import Packed, pack, pack_newest
from eval.report.load import Json, Run, load_run
from eval.report.plots import Plot
from eval.report.scaling import probes, scaling_curves
from eval.report.verdicts import intervals
from eval.report.words import facts, remarks, verdict
from train.files.untrusted import read_metrics
from train.lifecycle.diagnosis import diagnose
from train.page.html import STYLE, environment, own, policy_hash, write_page
from train.page.latest import render_latest, with_latest

MEASURES = tuple(name for name, measure in SAMPLE_MEASURES.items() if measure.on_page)
TitledPlots = list[tuple[str, Plot]]
HERE = Path(__file__).parent
NEWEST = 400  # rollouts in the page of a run that goes on
HEADLINES = ("accuracy", "incorrect_to_correct", "repair_rate", "thinking_tokens")
# Shown for each task: tasks differ in how often a slip pays to be put right, and the share of each shifts in training.
BY_TASK = ("repair_rate",)


def write_report(run: Path, output: Path | None = None, seeds: Sequence[Path] = ()) -> Path:
    """Write the page of a run folder to `output` (`RUN/report.html`) and return where it is.

    `seeds` are other seeds of the run: its claims and scaling curves are then those of all together. Beside the page,
    in a folder of its name, go the plots as PNG and SVG, and claims.json.

    Raises ValueError with one clear line where the folder, or a file in it, cannot be read, or the page not written.
    """
    path, evaluation = output or run / "report.html", newest_evaluation(run)
    if path.suffix != ".html":  # the folder beside the page takes its name without the ending
        raise ValueError(f"The report cannot be written to {path}: expected a name that ends in .html.")
    content = load_run(run)
    claims = judge_claims([run, *seeds])
    scaling, curves, panels = scaling_curves([run, *seeds]), _curves(content), _panels(content)
    page = render_page(content, claims, scaling, curves, panels, pack(content), evaluation)
    beside = path.with_suffix("")
    try:
        write_page(path, page)
        beside.mkdir(exist_ok=True)
        (beside / "claims.json").write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")
        decodings = _temperature(content)
        for plot in [*scaling.values(), *(plot for _, plot in curves + panels), *([decodings] if decodings else [])]:
            plot.save(beside)
    except OSError as error:
        raise ValueError(f"The report cannot be written to {path}: {error.strerror}.") from None
    return path


def write_live_report(run: Path) -> Path:
    """Write RUN/report.html of a run that goes on: what is cheap of the page, and its newest rollouts; returns it.

    Takes some 3 seconds of one core, and reads of the training rollouts' texts only the first and the last.
    Raises ValueError as `write_report` does.
    """
    evaluation = newest_evaluation(run)
    content = load_run(run)
    claims, scaling, newest = judge_claims([run]), scaling_curves([run]), pack_newest(content, NEWEST)
    page = render_page(content, claims, scaling, _curves(content), _panels(content), newest, evaluation)
    try:
        write_page(run / "report.html", with_latest(page, _latest(run, content.config)))
    except OSError as error:
        raise ValueError(f"The report cannot be written to {run / 'report.html'}: {error.strerror}.") from None
    return run / "report.html"


def render_page(
    run: Run,
    claims: Json,
    scaling: dict[str, Plot],
    curves: TitledPlots,
    panels: TitledPlots,
    packed: Packed,
    evaluation: int,
) -> str:
    """The whole page as HTML, as of `evaluation`. Whatever comes from a model or a configuration is escaped."""
    script = own(HERE / "explorer.js")
    template = environment(HERE).get_template("template.html")
    return template.render(
        run=run,
        evaluation=evaluation,
        style=own(STYLE),
        script=script,
        script_hash=policy_hash(script),
        packed=packed,
        diagnosis=diagnose(run.folder),
        claims=claims,
        intervals=intervals,
        smallest=SMALLEST,
        scaling=scaling,
        probes=probes(run.folder),
        facts=facts(run),
        verdict=verdict(run),
        remarks=remarks(run, len(claims["seeds"])),
        results=run.results,
        names=table.short_names([row["checkpoint"] for row in run.results["checkpoints"]]) if run.results else [],
        asked=table.sampling_sentence(run.results["settings"]) if run.results else "",
        chosen_on=table.decoding_sentence(run.results["settings"]) if run.results else "",
        at=table.at(run.results["settings"]) if run.results else "",
        sections=sections(run.results) if run.results else [],
        headlines=headlines(run.results) if run.results and run.results["pairs"] else [],
        table=table,
        legend=[
            (task or ("all tasks" if len(run.tasks) > 1 else run.tasks[0]), plots.VARIABLES[colour], marker)
            for (task, colour), marker in zip(plots.colours(run).items(), "●■▲◆▼✚", strict=False)
        ],
        temperature=_temperature(run),
        best=best_rows(run.results) if run.results else [],
        curves=curves,
        panels=panels,
        chosen=bool(run.config.get("dynamic_sampling")),
        validated=bool(series.held_out(run, None).steps),
        examples=[(kind, list(group)) for kind, group in groupby(choose(run), lambda example: example.kind)],
        measures=MEASURES,
        environment=json.dumps(run.environment, indent=2, ensure_ascii=False),
    )


def newest_evaluation(run: Path) -> int:
    """When the run was last evaluated, or, where it never was, when it last logged: nanoseconds, 0 for never."""
    evaluations = [*run.glob("rollouts.parquet/validation-*.parquet"), *run.glob("evaluation/*.json")]
    files = evaluations or list(run.glob("metrics*.jsonl"))
    return max((path.stat().st_mtime_ns for path in files), default=0)


def page_evaluation(page: Path) -> int:
    """What `newest_evaluation` was when a whole page was made; -1 where there is none."""
    if not page.is_file():
        return -1
    with page.open(encoding="utf-8", errors="replace") as file:
        found = re.search(r'<meta name="evaluation" content="(\d+)">', file.read(2000))  # it stands at the head
    return int(found[1]) if found else -1


def _latest(run: Path, config: Json) -> str:
    """The part of the page that is current, from the files as they are now: making the rest took seconds."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["phase"] == "rl"]
    return render_latest(run, config, rows)


def sections(results: Json) -> list[tuple[str, list[Json], list[Json]]]:
    """All tasks together, then each: a title, each checkpoint's measures, and each pair's."""
    rows, pairs = results["checkpoints"], results["pairs"]
    tasks = list(rows[0]["tasks"])
    whole = ("all tasks" if len(tasks) > 1 else tasks[0], [r["measures"] for r in rows], [p["measures"] for p in pairs])
    if len(tasks) == 1:
        return [whole]
    return [whole] + [(task, [r["tasks"][task] for r in rows], [p["tasks"][task] for p in pairs]) for task in tasks]


def best_rows(results: Json) -> list[tuple[str, list[Json | None], list[Json | None]]]:
    """Accuracy of each checkpoint at its best decoding and the differences: of all tasks, and of each."""
    rows, pairs = ([each["best"] for each in results[key]] for key in ("checkpoints", "pairs"))
    tasks = list(rows[0]["tasks"])
    parts = [("accuracy", [r["measures"] for r in rows], [p["measures"] for p in pairs])]
    if len(tasks) > 1:
        parts += [
            (f"accuracy, {task}", [r["tasks"][task] for r in rows], [p["tasks"][task] for p in pairs]) for task in tasks
        ]
    return [
        (title, [r.get("accuracy") for r in of], [p.get("accuracy") for p in change]) for title, of, change in parts
    ]


def _temperature(run: Run) -> Plot | None:
    if run.results is None:
        return None
    return plots.temperatures(run.results, table.short_names([row["checkpoint"] for row in run.results["checkpoints"]]))


def headlines(results: Json) -> list[tuple[str, str, Json | None, Json | None, Json | None]]:
    """The figures to see first: measure, its task where it is shown for each, before, after, difference."""
    whole, *tasks = sections(results)
    lines = []
    for name in HEADLINES:
        for title, rows, pairs in tasks if name in BY_TASK and tasks else [whole]:
            before, after, change = rows[0], rows[-1], pairs[-1]
            if table.measures_present([name], [before, after, change]):
                task = title if tasks and name in BY_TASK else ""
                lines.append((name, task, before.get(name), after.get(name), change.get(name)))
    return lines


def _curves(run: Run) -> TitledPlots:
    curves = [
        ("Accuracy against RL step", plots.accuracy(run, "step")),
        ("Accuracy against training tokens", plots.accuracy(run, "tokens")),
        ("Thinking tokens a rollout", plots.batch_curve(run, "thinking", "thinking_tokens", "Thinking tokens", False)),
        (
            "Rollouts cut off at the token limit",
            plots.batch_curve(run, "truncated", "truncated", "Share cut off", True),
        ),
    ]
    return [(title, plot) for title, plot in curves if plot is not None]


def _panels(run: Run) -> TitledPlots:
    panels = [
        ("Mean reward", plots.small("reward", "Mean reward", series.metric(run, "reward"))),
        ("Entropy, nats a token", plots.small("entropy", "Entropy", series.metric(run, "entropy"))),
        (
            "Groups without variance",
            plots.small("zero", "Groups without variance", series.metric(run, "frac_reward_zero_std"), percent=True),
        ),
        ("Tokens a second", plots.small("speed", "Tokens a second", series.speed(run))),
    ]
    return [(title, plot) for title, plot in panels if plot is not None]
