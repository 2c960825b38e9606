"""The part of a run's page that is current to its last evaluation: milliseconds' work, put into the page as it stands.

The rest of the page costs seconds and is made less often (train.lifecycle.live_report). Until it is there, this part is
the page.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from train.lifecycle.diagnosis import explain
from train.page.html import STYLE, environment, own, write_page
from train.page.marks import read

SHOWN = 4  # rollouts
POINTS = 240  # of a curve
CURVES = {
    "Accuracy on validation problems": "eval_accuracy",
    "Accuracy in training": "accuracy",
    "Mean reward in training": "reward",
}
COLUMNS = ["step", "task", "problem", "prompt", "completion", "correct", "reason", "truncated", "thinking_tokens"]
START, END = "<!-- latest -->", "<!-- /latest -->"  # what stands between them in a page is replaced

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric over the run's steps, as a line in a picture of 240 x 60."""

    title: str
    steps: list[int]
    values: list[float]

    def show(self, value: float) -> str:
        """A value as the reader wants it: accuracies in percent."""
        return f"{value:.1%}" if self.title.startswith("Accuracy") else f"{value:.3f}"

    @property
    def points(self) -> str:
        """The line, in the words of SVG."""
        span, least, most = max(1, self.steps[-1] - self.steps[0]), min(0.0, *self.values), max(1.0, *self.values)
        return " ".join(
            f"{4 + 232 * (step - self.steps[0]) / span:.1f},{56 - 52 * (value - least) / (most - least):.1f}"
            for step, value in zip(self.steps, self.values, strict=True)
        )


def put_latest(run: Path, config: Row, rows: list[Row]) -> None:
    """Bring RUN/report.html up to the last of `rows`, the RL metrics of a run; `config` is its configuration.

    Raises OSError or ValueError where the page, or the rollouts, cannot be read or written.
    """
    latest = render_latest(run, config, rows)
    path = run / "report.html"
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    if END not in page.partition(START)[2]:  # it is the first, or one of an earlier version
        name = config.get("name") or run.resolve().name
        page = _templates().get_template("first.html").render(
            name=name, latest=f"{START}{END}", style=own(STYLE), script_hash="none"
        )  # fmt: skip
    write_page(path, with_latest(page, latest))


def with_latest(page: str, latest: str) -> str:
    """`page` with `latest` in the place of an older one."""
    before, rest = page.split(START, 1)
    return before + latest + rest.split(END, 1)[1]


def render_latest(run: Path, config: Row, rows: list[Row]) -> str:
    """The part itself, from START to END; nothing else before the first step."""
    if not rows:
        return START + END
    step = rows[-1]["step"]
    evaluated = [row["step"] for row in rows if "eval_accuracy" in row]
    curves = [
        Curve(title, [row["step"] for row in found], [float(row[name]) for row in found])
        for title, name in CURVES.items()
        if (found := _thinned([row for row in rows if isinstance(row.get(name), int | float)]))
    ]
    if len(curves) > 1 and curves[-1].values == curves[-2].values:
        curves.pop()  # right answers are all that is rewarded
    rollouts, kind = newest_rollouts(run, [step, *evaluated[-1:]])
    return _templates().get_template("latest.html").render(
        step=step,
        steps=config.get("max_steps"),
        curves=curves,
        diagnosis=explain(config, rows),
        kind=kind,
        rollouts=[{"row": row, "label": f"step {row['step']}", "reading": read(row)} for row in rollouts],
        start=START,
        end=END,
    )  # fmt: skip


def newest_rollouts(run: Path, steps: list[int]) -> tuple[list[Any], str]:
    """The first rollouts of the first of `steps` that has any, of its validation or else of training; and of which."""
    for step, split in product(steps, ("validation", "train")):
        path = run / "rollouts.parquet" / f"{split}-{step:06d}-rank0-000.parquet"
        if path.is_file():
            return pq.read_table(path, columns=COLUMNS).slice(0, SHOWN).to_pylist(), split
    return [], ""


def _thinned(rows: list[Row]) -> list[Row]:
    """At most POINTS of `rows`, evenly spaced, the last among them."""
    return rows[:: -max(1, -(-len(rows) // POINTS))][::-1]


@cache
def _templates() -> jinja2.Environment:
    return environment()
