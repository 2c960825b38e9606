"""The two scaling curves as figures of their own, PNG and SVG; several seeds are drawn as one, with their interval."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from eval.estimators import Estimate
from eval.seeds import across_seeds

COLOURS = {"base": "#8a8a8a", "cold-started": "#2a6fbb", "trained": "#c2410c"}
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "rethink",
}
Json = dict[str, Any]


def write_plots(runs: Sequence[Path], output: Path) -> None:
    """Draw the curves in the runs' evaluation folders to train-curve and test-curve, .png and .svg, in `output`."""
    for name in CURVES:
        curves = [json.loads((run / "evaluation" / f"{name}.json").read_text()) for run in runs]
        with rc_context(STYLE):
            figure = draw_curve(name, curves)
            figure.savefig(output / f"{name}.png", dpi=150)
            figure.savefig(output / f"{name}.svg", metadata={"Date": None})


def draw_curve(name: str, curves: list[Json]) -> Figure:
    """One of the two CURVES, from the content of its JSON file in each run."""
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    panels = list(figure.subplots(1, 2, sharey=True))
    CURVES[name](panels, curves)
    for panel in panels:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylim(0, 1)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _train(panels: list[Axes], curves: list[Json]) -> None:
    """Accuracy against training tokens and against FLOPs; what was there before has spent nothing and is a level."""
    start, *later = (list(points) for points in zip(*(curve["points"] for curve in curves), strict=True))
    before = _together(start, "accuracy")
    for panel, axis, label in (
        (panels[0], "tokens", "RL training tokens, prompts included"),
        (panels[1], "flops", "RL training FLOPs"),
    ):
        panel.axhspan(before.low, before.high, color=COLOURS["cold-started"], alpha=0.12, linewidth=0)
        panel.axhline(before.value, color=COLOURS["cold-started"], linestyle="--", linewidth=1, label="before RL")
        x = [fmean(point[axis] for point in points) for points in later]
        _band(panel, x, [_together(points, "accuracy") for points in later], COLOURS["trained"], "o-", "after RL")
        if len(curves) > 1:
            for curve in curves:
                each = curve["points"][1:]
                panel.plot(
                    [point[axis] for point in each], [point["accuracy"]["value"] for point in each],
                    color=COLOURS["trained"], linewidth=0.6, alpha=0.5,
                )  # fmt: skip
        panel.set_xlabel(label)
    panels[0].set_ylabel("accuracy, held-out problems")
    panels[0].legend(frameon=False, loc="upper left")


def _test(panels: list[Axes], curves: list[Json]) -> None:
    """Accuracy against the thinking tokens of one sample, and against all tokens of k samples."""
    for stage in curves[0]["stages"]:
        if all("sequential" in curve for curve in curves):
            points = list(zip(*(curve["sequential"][stage]["points"] for curve in curves), strict=True))
            x = [fmean(point["thinking_tokens"]["value"] for point in each) for each in points]
            y = [_together(each, "accuracy") for each in points]
            _band(panels[0], x, y, COLOURS[stage], "o-", stage)
            waits = [place for place, each in enumerate(points) if each[0]["waits"]]
            hollow = [x[place] for place in waits], [y[place].value for place in waits]
            panels[0].plot(*hollow, "o", color=COLOURS[stage], markerfacecolor="white", zorder=3)
        several = list(zip(*(curve["parallel"][stage] for curve in curves), strict=True))
        x = [fmean(point["tokens"] for point in each) for each in several]
        for key, line in (("pass", "o-"), ("maj", "s--")):
            _band(panels[1], x, [_together(each, key) for each in several], COLOURS[stage], line, f"{stage}, {key}@k")
    panels[0].set_xlabel("thinking tokens used, one sample (hollow: extended by “Wait”)")
    panels[1].set_xlabel("tokens of all k samples")
    panels[0].set_ylabel("accuracy, held-out problems")
    panels[0].legend(frameon=False)
    panels[1].legend(frameon=False, fontsize=8)


def _together(points: Sequence[Json], key: str) -> Estimate:
    return across_seeds([Estimate(**point[key]) for point in points])


def _band(axes: Axes, x: list[float], y: list[Estimate], colour: str, line: str, label: str) -> None:
    axes.plot(x, [point.value for point in y], line, color=colour, markersize=4, linewidth=1.5, label=label)
    axes.fill_between(x, [point.low for point in y], [point.high for point in y], color=colour, alpha=0.15, linewidth=0)


CURVES: dict[str, Callable[[list[Axes], list[Json]], None]] = {"train-curve": _train, "test-curve": _test}
