"""The page itself: what the figures say in words, and everything put into the template."""

import json
import re
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from eval import table
from eval.report import plots, series
from eval.report.examples import choose
from eval.report.load import Row, Run, load_run

HERE = Path(__file__).parent
MEASURES = (
    *("accuracy", "greedy_accuracy", "first_attempt_accuracy", "incorrect_to_correct", "correct_to_incorrect"),
    *("step_accuracy", "repair_rate", "thinking_tokens", "answer_tokens", "truncated"),
)
HEADLINES = ("accuracy", "incorrect_to_correct", "repair_rate", "thinking_tokens")


def write_report(run: Path, output: Path | None = None) -> Path:
    """Write the page of a run folder to `output` (`RUN/report.html`) and return where it is.

    Raises ValueError with one clear line where the folder, or a file in it, cannot be read, or the page not written.
    """
    page = render_page(load_run(run))
    path = output or run / "report.html"
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ValueError(f"The report cannot be written to {path}: {error.strerror}.") from None
    return path


def render_page(run: Run) -> str:
    """The whole page as HTML. Whatever comes from a model or a configuration is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("template.html").render(
        run=run,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        facts=facts(run),
        verdict=verdict(run),
        remarks=remarks(run),
        results=run.results,
        names=table.short_names([row["checkpoint"] for row in run.results["checkpoints"]]) if run.results else [],
        asked=table.asked(run.results["settings"]) if run.results else "",
        sections=sections(run.results) if run.results else [],
        headlines=headlines(run.results) if run.results and run.results["pairs"] else [],
        table=table,
        legend=[
            (task or "all tasks", plots.VARIABLES[colour], marker)
            for (task, colour), marker in zip(plots.colours(run).items(), "●■▲◆▼✚", strict=False)
        ],
        curves=_curves(run),
        panels=_panels(run),
        examples=[(kind, list(group)) for kind, group in groupby(choose(run), lambda example: example.kind)],
        measures=MEASURES,
        environment=json.dumps(run.environment, indent=2, ensure_ascii=False),
    )


def verdict(run: Run) -> str:
    """What the evaluation says of the run, in one honest sentence."""
    if run.results is None:
        return "Not evaluated yet: the curves show how training went, not what was gained on held-out problems."
    rows, pairs = run.results["checkpoints"], run.results["pairs"]
    after = rows[-1]["measures"]["accuracy"]
    problems = f"{run.results['settings']['problems']} held-out problems"
    if not pairs:
        interval = table.show_interval("accuracy", after)
        return (
            f"Accuracy on {problems} is {table.show('accuracy', after)}, 95% interval {interval}. Only one checkpoint was "
            "evaluated, so nothing can be said of a gain."
        )
    change = pairs[-1]["measures"]["accuracy"]
    verb = "went" if not table.clear(change) else "rose" if change["value"] > 0 else "fell"
    before = table.show("accuracy", rows[0]["measures"]["accuracy"])
    sentence = (
        f"Accuracy on {problems} {verb} from {before} to {table.show('accuracy', after)}: "
        f"{table.show_change('accuracy', change)}, 95% interval {table.show_change_interval('accuracy', change)}, "
    )
    return sentence + ("clear of zero." if table.clear(change) else "within noise: no change is shown.")


def facts(run: Run) -> list[tuple[str, str]]:
    """The line under the title."""
    started = run.environment.get("started")
    steps = [row["step"] for row in run.rl]
    planned = run.config.get("max_steps", -1)
    of = f" of {planned}" if isinstance(planned, int) and steps and planned > steps[-1] else ""
    found = [
        ("model", str(run.config.get("model", "unknown"))),
        ("tasks", ", ".join(run.tasks)),
        ("cold start", f"{run.config.get('cold_start_steps') or 0:,} steps"),
        ("RL", f"{steps[-1] if steps else 0:,}{of} steps"),
        ("seed", str(run.environment.get("seed", "unknown"))),
        ("started", _date(started) if started else "unknown"),
    ]
    commit = run.environment.get("git_commit")
    if commit:
        found.append(("commit", f"{commit[:9]}{', with changes' if run.environment.get('git_changes') else ''}"))
    return found


def remarks(run: Run) -> list[str]:
    """What a reader must know so as not to read too much into the figures."""
    if run.config.get("cold_start_steps"):
        found = [
            "Trying, checking, backing up and redoing a step were taught by the demonstrations of the cold start, so that "
            "they occur is no finding. Reinforcement then saw only whether the final answer was right: it can make those "
            "habits pay, or let them wither. The cold-started model is the control, and the difference to it is the result."
        ]
    else:
        found = [
            "This run had no cold start: its habits of thought are those that the model brought along, or found in "
            "reinforcement. The model before reinforcement is the control, and the difference to it is the result."
        ]
    found.append(
        "This is one run from one seed. Its intervals cover the draw of problems and samples, not the luck of training; "
        "ask for at least three seeds before a claim counts as supported."
    )
    if run.results and run.rl:
        evaluated = re.search(r"checkpoint-(\d+)/?$", run.results["checkpoints"][-1]["checkpoint"])
        if evaluated and int(evaluated[1]) < run.rl[-1]["step"]:
            found.append(
                f"The evaluation is of checkpoint-{evaluated[1]}; training has reached step {run.rl[-1]['step']} since."
            )
    return found


def sections(results: Row) -> list[tuple[str, list[Row], list[Row]]]:
    """All tasks together, then each: a title, each checkpoint's measures, and each pair's."""
    rows, pairs = results["checkpoints"], results["pairs"]
    tasks = list(rows[0]["tasks"])
    whole = ("all tasks" if len(tasks) > 1 else tasks[0], [r["measures"] for r in rows], [p["measures"] for p in pairs])
    if len(tasks) == 1:
        return [whole]
    return [whole] + [(task, [r["tasks"][task] for r in rows], [p["tasks"][task] for p in pairs]) for task in tasks]


def headlines(results: Row) -> list[tuple[str, Row | None, Row | None, Row | None]]:
    """The figures to see first: measure, before, after, difference."""
    before, after = results["checkpoints"][0]["measures"], results["checkpoints"][-1]["measures"]
    change = results["pairs"][-1]["measures"]
    return [(name, before.get(name), after.get(name), change.get(name)) for name in HEADLINES]


def _curves(run: Run) -> list[tuple[str, Markup]]:
    curves = [
        ("Accuracy against RL step", plots.accuracy(run, "step")),
        ("Accuracy against training tokens", plots.accuracy(run, "tokens")),
        ("Thinking tokens a rollout", plots.batch_curve(run, "thinking", "thinking_tokens", "Thinking tokens", False)),
        ("Rollouts cut off at the token limit", plots.batch_curve(run, "truncated", "truncated", "Share cut off", True)),
    ]
    return [(title, svg) for title, svg in curves if svg is not None]


def _panels(run: Run) -> list[tuple[str, Markup]]:
    panels = [
        ("Mean reward", plots.small("reward", "Mean reward", series.metric(run, "reward"))),
        ("Entropy, nats a token", plots.small("entropy", "Entropy", series.metric(run, "entropy"))),
        (
            "Groups without variance",
            plots.small("zero", "Groups without variance", series.metric(run, "frac_reward_zero_std"), percent=True),
        ),
        ("Tokens a second", plots.small("speed", "Tokens a second", series.speed(run))),
    ]
    return [(title, svg) for title, svg in panels if svg is not None]


def _date(started: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(started))
    except ValueError:
        return str(started)
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()
