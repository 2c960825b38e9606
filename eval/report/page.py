"""The page itself: a run's figures, plots and rollouts put into the template."""

import base64
import hashlib
import json
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup

from eval import table
from eval.report import plots, series
from eval.report.examples import choose
from eval.report.explorer import pack
from eval.report.load import Row, Run, load_run
from eval.report.words import facts, remarks, verdict

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
    script = (HERE / "explorer.js").read_text(encoding="utf-8")
    return environment.get_template("template.html").render(
        run=run,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # our own file
        script=Markup(script),  # our own file, the only one that the page's policy lets run
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        packed=pack(run),
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
            (task or ("all tasks" if len(run.tasks) > 1 else run.tasks[0]), plots.VARIABLES[colour], marker)
            for (task, colour), marker in zip(plots.colours(run).items(), "●■▲◆▼✚", strict=False)
        ],
        curves=_curves(run),
        panels=_panels(run),
        validated=bool(series.held_out(run, None).steps),
        examples=[(kind, list(group)) for kind, group in groupby(choose(run), lambda example: example.kind)],
        measures=MEASURES,
        environment=json.dumps(run.environment, indent=2, ensure_ascii=False),
    )


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
        (
            "Rollouts cut off at the token limit",
            plots.batch_curve(run, "truncated", "truncated", "Share cut off", True),
        ),
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
