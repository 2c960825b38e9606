"""The report's plots: matplotlib drawn to inline SVGs that take their colours from the page's style, and to files."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from eval.report import series
from eval.report.load import Json, Run

# The colours of style.css in light. In the page its variables stand in their place, so that dark has its own.
INK, MUTED, GRID = "#1d2126", "#5f6670", "#dcd9d2"
TASK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#997700")
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
} | {colour: f"--series-{number}" for number, colour in enumerate(TASK_COLOURS, 1)}
MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rethink",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.left": False,
    "ytick.labelcolor": MUTED,
    "text.parse_math": False,
}
PERCENT = FuncFormatter(lambda value, _: f"{value * 100:.3g}%")
LARGE, SMALL = (4.3, 2.6), (3.3, 1.9)  # inches; an SVG fills its column whatever its size


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure; `name` is unique in the page, and the name of its files."""

    name: str
    alt: str
    figure: Figure

    @property
    def inline(self) -> Markup:
        """The plot as an SVG element: no outside reference, ids of its own, the same every time."""
        return Markup(_inline(self._svg(), self.name, self.alt))  # matplotlib escapes the text that it writes

    def save(self, folder: Path) -> None:
        """Write NAME.svg and NAME.png into `folder`, on white."""
        self.figure.patch.set(alpha=1, facecolor="white")
        (folder / f"{self.name}.svg").write_text(self._svg(), encoding="utf-8")
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(folder / f"{self.name}.png", dpi=150)

    def _svg(self) -> str:
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata=metadata)
        return buffer.getvalue()


def colours(run: Run) -> dict[str | None, str]:
    """The colour of each group of curves; with one task there is one curve."""
    return dict(zip(series.groups(run), (INK, *TASK_COLOURS), strict=False))


def accuracy(run: Run, against: str) -> Plot | None:
    """Accuracy against RL "step" or training "tokens": batches faint, held-out problems strong with 95% intervals."""
    if not len(run.curves) or (against == "tokens" and series.metric(run, "num_tokens") is None):
        return None

    def place(steps: np.ndarray | list[int]) -> np.ndarray:
        tokens = series.tokens_at(run, steps) if against == "tokens" else None
        return np.asarray(steps, float) if tokens is None else tokens

    def draw(axes: Axes) -> None:
        for number, (task, colour) in enumerate(colours(run).items()):
            curve = series.batch_mean(run, "correct", task)
            _line(axes, place(curve.steps), curve.values, color=colour, linewidth=1, alpha=0.4)
            points = series.held_out(run, task)
            if points.steps:
                values = np.array([estimate.value for estimate in points.estimates])
                below = values - [estimate.low for estimate in points.estimates]
                above = [estimate.high for estimate in points.estimates] - values
                x = place(points.steps)
                dodge = (number - (len(colours(run)) - 1) / 2) * 0.012 * x.max()  # intervals beside each other
                axes.errorbar(
                    *(x + dodge, values, [np.maximum(below, 0), np.maximum(above, 0)]),
                    color=colour, marker=MARKERS[number % len(MARKERS)], markersize=4.5, linewidth=1.6, elinewidth=0.9,
                )  # fmt: skip
        axes.set_ylim(0, min(1.02, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("RL step" if against == "step" else "RL training tokens, prompts included")
        if against == "tokens":
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    return plot(f"accuracy-{against}", f"Accuracy against RL {against}", draw, LARGE, whole_steps=against == "step")


def temperatures(results: Json, names: Sequence[str]) -> Plot:
    """Accuracy against temperature, of the first and the last checkpoint: what temperature alone gives."""
    ends = {names[0]: results["checkpoints"][0], names[-1]: results["checkpoints"][-1]}
    grid = sorted({each["temperature"] for row in ends.values() for each in row["decodings"] if each["accuracy"]})

    def draw(axes: Axes) -> None:
        for number, (name, row) in enumerate(ends.items()):
            colour = TASK_COLOURS[number] if len(ends) > 1 else INK
            points = [each for each in row["decodings"] if each["accuracy"]]
            at = [grid.index(each["temperature"]) + 0.04 * (2 * number - 1) for each in points]
            value, low, high = (
                np.array([each["accuracy"][key] for each in points]) for key in ("value", "low", "high")
            )
            around = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
            axes.errorbar(
                at, value, around, color=colour, marker=MARKERS[number], markersize=4, linewidth=1.5, elinewidth=0.9,
                label=name,
            )  # fmt: skip
            best = [each["temperature"] for each in points].index(row["best_temperature"])
            axes.axhline(value[best], color=colour, linewidth=0.8, linestyle=":")
            axes.plot(at[best], value[best], MARKERS[number], color=colour, markersize=10, fillstyle="none")
        axes.set_xticks(range(len(grid)), [f"{each:g}" if each else "greedy" for each in grid])
        axes.set_xlim(-0.3, len(grid) - 0.7)
        axes.set_ylim(0, min(1.02, axes.get_ylim()[1] * 1.05))
        axes.yaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("temperature")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # above, clear of both curves

    return bare_plot("temperature", "Accuracy against temperature, before and after", draw, LARGE)


def batch_curve(run: Run, name: str, column: str, alt: str, percent: bool) -> Plot | None:
    """The mean of a rollout column over each training batch, all tasks and each."""
    if not len(run.curves):
        return None

    def draw(axes: Axes) -> None:
        for task, colour in colours(run).items():
            curve = series.batch_mean(run, column, task)
            _line(axes, curve.steps, curve.values, color=colour, linewidth=1.4 if task is None else 1.1)
        axes.set_ylim(0, max(0.05 if percent else 1, axes.get_ylim()[1]))
        _finish(axes, percent)

    return plot(name, alt, draw, LARGE)


def small(name: str, alt: str, curve: series.Curve | None, percent: bool = False) -> Plot | None:
    """One metric against RL step; None where it was not logged."""
    if curve is None:
        return None

    def draw(axes: Axes) -> None:
        _line(axes, curve.steps, curve.values, color=INK, linewidth=1.2)
        axes.set_ylim(0, max(axes.get_ylim()[1], 1e-6))
        _finish(axes, percent)

    return plot(name, alt, draw, SMALL)


def plot(
    name: str, alt: str, draw: Callable[[Axes], None], size: tuple[float, float], whole_steps: bool = True
) -> Plot:
    """Draw one pair of axes, whose x begins at 0."""

    def draw_on_scales(axes: Axes) -> None:
        draw(axes)
        last = axes.dataLim.x1
        axes.set_xlim(0, last * 1.02 if 0 < last < np.inf else 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole_steps, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))

    return bare_plot(name, alt, draw_on_scales, size)


def bare_plot(name: str, alt: str, draw: Callable[[Axes], None], size: tuple[float, float]) -> Plot:
    """Draw one pair of axes, whose scales are left to `draw`."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
    return Plot(name, alt, figure)


def _inline(svg: str, name: str, alt: str) -> str:
    """An SVG file as an element of an HTML page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', body)
    assert view is not None
    body = re.sub(r"^<svg[^>]*>", f'<svg role="img" aria-label="{alt}" viewBox="{view[1]}">', body)
    body = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body).replace("url(#", f"url(#{name}-")
    body = re.sub(
        r"font-family: [^;\"]+;?|font: ([\d.]+px) [^;\"]+", lambda m: f"font-size: {m[1]}" if m[1] else "", body
    )
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return re.sub(r">\s+<", "><", body)


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A curve; a single point of one is drawn as a dot, since its line has no length."""
    axes.plot(x, y, marker="." if len(x) == 1 else None, **style)


def _finish(axes: Axes, percent: bool) -> None:
    axes.set_xlabel("RL step")
    if percent:
        axes.yaxis.set_major_formatter(PERCENT)
    else:
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}")
        )
