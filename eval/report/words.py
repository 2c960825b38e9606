"""The report's sentences: the facts of the run, the verdict, and what not to read into it."""

from datetime import datetime
from pathlib import Path
from typing import Any

from eval import table
from eval.claims.judging import SEEDS
from eval.report.load import Run
from eval.report.plots import TASK_COLOURS
from train.files.checkpoints import step_in


def verdict(run: Run) -> str:
    """What the evaluation says of the run, in one honest sentence."""
    if run.results is None:
        return "Not evaluated yet: the curves show how training went, not what was gained on held-out problems."
    rows, pairs = run.results["checkpoints"], run.results["pairs"]
    after = rows[-1]["best"]["measures"]["accuracy"]
    decoding = table.decoding(rows[-1]["best_temperature"])
    problems = table.problems(run.results["settings"])
    if not pairs:
        interval = table.show_interval("accuracy", after)
        return (
            f"Accuracy on {problems} is {table.show('accuracy', after)} at the best decoding, {decoding}, 95% interval "
            f"{interval}. Only one checkpoint "
            "was evaluated, so nothing can be said of a gain."
        )
    change, plain = pairs[-1]["best"]["measures"]["accuracy"], pairs[-1]["measures"]["accuracy"]
    verb = "went" if not table.clear(change) else "rose" if change["value"] > 0 else "fell"
    before = table.show("accuracy", rows[0]["best"]["measures"]["accuracy"])
    return (
        f"Each model at its best decoding, accuracy on {problems} {verb} from {before} "
        f"({table.decoding(rows[0]['best_temperature'])}) to {table.show('accuracy', after)} ({decoding}): "
        f"{table.show_change('accuracy', change)}, 95% interval {table.show_change_interval('accuracy', change)}, "
        + ("clear of zero. " if table.clear(change) else "within noise: no change is shown. ")
        + f"{table.at(run.results['settings']).capitalize()} the change is {table.show_change('accuracy', plain)}"
        + table.beside_best(change, plain)
    )


def facts(run: Run) -> list[tuple[str, str]]:
    """The line under the title."""
    start = run.environment.get("started")
    steps = [row["step"] for row in run.rl]
    max_steps = run.config.get("max_steps", -1)
    of = f" of {max_steps}" if isinstance(max_steps, int) and steps and max_steps > steps[-1] else ""
    pairs = [
        ("model", str(run.config.get("model", "unknown"))),
        ("tasks", ", ".join(run.tasks)),
        ("cold-start steps", _cold_start(run)),
        ("RL steps", f"{steps[-1] if steps else 0:,}{of}"),
        ("seed", str(run.environment.get("seed", "unknown"))),
        ("started", _date(start) if start else "unknown"),
    ]
    commit = run.environment.get("git_commit")
    if commit:
        pairs.append(("commit", f"{commit[:9]}{', with changes' if run.environment.get('git_changes') else ''}"))
    return pairs


def _cold_start(run: Run) -> str:
    """How far the cold start has come, and its loss in the first and the last batch that was logged."""
    planned = run.config.get("cold_start_steps") or 0
    rows = [row for row in run.metrics if row["phase"] == "cold-start" and isinstance(row.get("loss"), int | float)]
    if not rows:
        return f"{planned:,}"
    done = f"{rows[-1]['step']:,} of " if rows[-1]["step"] < planned else ""
    return f"{done}{planned:,}, loss {rows[0]['loss']:.2f} → {rows[-1]['loss']:.2f}"


def remarks(run: Run, runs: int) -> list[str]:
    """What a reader must know so as not to read too much into the figures; `runs` are behind the claims."""
    if run.config.get("cold_start_steps"):
        lines = [
            "Trying, checking, backing up and redoing a step were taught by the demonstrations of the cold start, so "
            "that they occur is no finding. RL then saw only whether the final answer was right: it can "
            "amplify those habits where they pay, or let them wither. The cold-started model is the control; the "
            "difference to it is the result."
        ]
    else:
        lines = [
            "This run had no cold start: its habits of thought are those that the model brought along, or found in "
            "RL. The model before RL is the control, and the difference to it is the result."
        ]
    if runs == 1:
        what = "This is one run from one seed. Its intervals"
    else:
        what = (
            f"The claims and the scaling curves are of {runs} seeds; all else here is of one of them, whose intervals"
        )
    lines.append(
        f"{what} cover the draw of problems and samples, not the luck of training; ask for at least {SEEDS} seeds "
        "before a claim counts as supported."
    )
    if len(run.tasks) > len(TASK_COLOURS):
        lines.append(
            f"There are {len(run.tasks)} tasks: the curves are of all together and of the first {len(TASK_COLOURS)}, "
            "the tables of each."
        )
    if run.results and run.rl:
        name = Path(run.results["checkpoints"][-1]["checkpoint"]).name
        evaluated_step = step_in(name)
        if evaluated_step is not None and evaluated_step < run.rl[-1]["step"]:
            lines.append(f"The evaluation is of {name}; training has reached step {run.rl[-1]['step']} since.")
    return lines


def _date(start: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(start))
    except ValueError:
        return str(start)
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()
