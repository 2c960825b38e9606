"""The two scaling curves as figures of their own, PNG and SVG; several seeds are drawn as one, with their interval."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from eval.measures.estimators import Estimate
from eval.measures.seeds import across_seeds
from train.files.untrusted import read_json

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
FORECASTS = {"log_linear": "--", "saturating": ":"}  # fits of eval.curves.forecast, and their line
FORESEEN = "#5f6670"  # the muted ink of the page
Json = dict[str, Any]


def write_plots(runs: Sequence[Path], output: Path) -> None:
    """Draw the curves in the runs' evaluation folders into `output`.

    Each of CURVES that all runs have becomes NAME.png and NAME.svg; `scaling.png` is the gist of them, small enough for
    a README.
    """
    curves = read_curves(runs)
    with rc_context(STYLE):
        for name in curves:
            figure = draw_curve(name, curves[name])
            figure.savefig(output / f"{name}.png", dpi=150)
            figure.savefig(output / f"{name}.svg", metadata={"Date": None})
        gist = {"train-curve": (_train_tokens,), "test-curve": CURVES["test-curve"]}
        drawings = [(draw, curves[name]) for name in curves for draw in gist[name]]
        figure = Figure(figsize=(3.8 * len(drawings), 3.2), layout="constrained")
        panels = list(figure.subplots(1, len(drawings), sharey=True, squeeze=False)[0])
        for panel, (draw, curve) in zip(panels, drawings, strict=True):
            draw(panel, curve)
        _finish(panels)
        figure.savefig(output / "scaling.png", dpi=110)


def read_curves(runs: Sequence[Path]) -> dict[str, list[Json]]:
    """The curves that all runs have, by name: the content of each run's file."""
    paths = {name: [run / "evaluation" / f"{name}.json" for run in runs] for name in CURVES}
    return {name: [read_json(path) for path in each] for name, each in paths.items() if all(map(Path.is_file, each))}


def draw_curve(name: str, curves: list[Json]) -> Figure:
    """One of the two CURVES, from the content of its JSON file in each run."""
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    panels = list(figure.subplots(1, 2, sharey=True))
    for panel, draw in zip(panels, CURVES[name], strict=True):
        draw(panel, curves)
    _finish(panels)
    return figure


def _finish(panels: Sequence[Axes]) -> None:
    for panel in panels:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylim(0, 1)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylabel("accuracy, held-out problems")


def _train_tokens(panel: Axes, curves: list[Json]) -> None:
    _train(panel, curves, "tokens")
    panel.set_xlabel("RL training tokens, prompts included")
    panel.legend(frameon=False, loc="best")


def _train_flops(panel: Axes, curves: list[Json]) -> None:
    _train(panel, curves, "flops")
    panel.set_xlabel("RL training FLOPs")
    _forecast(panel, curves)
    panel.legend(*_forecast_legend(panel), frameon=False, loc="upper left")


def _forecast(panel: Axes, curves: list[Json]) -> None:
    """Each run's fits on its first half of the checkpoints, continued over the second half as predictions."""
    for curve in curves:
        forecast = curve.get("forecast")
        if not forecast:
            continue
        x = [point["flops"] for point in curve["points"][1:]]
        split = forecast["fitted_on"]
        for name, line in FORECASTS.items():
            if fit := forecast["curves"].get(name):
                y = [*fit["fitted"], *fit["predicted"]]
                panel.plot(x[:split], y[:split], "-", color=FORESEEN, linewidth=0.9)
                panel.plot(x[split - 1 :], y[split - 1 :], line, color=FORESEEN, linewidth=1.2, label=_named(name))


def _named(fit: str) -> str:
    return f"{fit.replace('_', '-')} forecast from the first half"


def _forecast_legend(panel: Axes) -> tuple[list[Any], list[str]]:
    """The forecasts alone, one entry each for any number of runs; the other curves are named in the next panel."""
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    names = [name for name in map(_named, FORECASTS) if name in handles]
    return [handles[name] for name in names], names


def _train(panel: Axes, curves: list[Json], axis: str) -> None:
    """Accuracy at the best decoding against the compute of training; the model before RL is a level line.

    The faint curve beside it is accuracy at temperature 1.
    """
    start, *later = (list(points) for points in zip(*(curve["points"] for curve in curves), strict=True))
    before = _together(start, "best_accuracy")
    panel.axhspan(before.low, before.high, color=COLOURS["cold-started"], alpha=0.12, linewidth=0)
    label = "before RL, at its best decoding"
    panel.axhline(before.value, color=COLOURS["cold-started"], linestyle="--", linewidth=1, label=label)
    x = [fmean(point[axis] for point in points) for points in later]
    best = [_together(points, "best_accuracy") for points in later]
    _band(panel, x, best, COLOURS["trained"], "o-", "after RL, at its best decoding")
    plain = [_together(points, "accuracy").value for points in later]
    panel.plot(x, plain, ":", color=COLOURS["trained"], linewidth=1, alpha=0.7, label="after RL, at temperature 1")
    if len(curves) > 1:
        for curve in curves:
            each = curve["points"][1:]
            panel.plot(
                [point[axis] for point in each], [point["best_accuracy"]["value"] for point in each],
                color=COLOURS["trained"], linewidth=0.6, alpha=0.5,
            )  # fmt: skip


def _sequential(panel: Axes, curves: list[Json]) -> None:
    """Accuracy against the thinking tokens of one sample."""
    panel.set_xlabel("thinking tokens (hollow: extended by “Wait”)")
    for stage in curves[0]["stages"]:
        points = _paired([curve["sequential"][stage]["points"] for curve in curves])
        x = [fmean(point["thinking_tokens"]["value"] for point in each) for each in points]
        y = [_together(each, "accuracy") for each in points]
        _band(panel, x, y, COLOURS[stage], "o-", stage)
        waits = [place for place, each in enumerate(points) if each[0]["waits"]]
        hollow = [x[place] for place in waits], [y[place].value for place in waits]
        panel.plot(*hollow, "o", color=COLOURS[stage], markerfacecolor="white", zorder=3)
    panel.legend(frameon=False)


def _paired(curves: Sequence[Sequence[Json]]) -> list[tuple[Json, ...]]:
    """The points of several runs at each budget that all of them have; the mean of a start's thinking is its own."""
    by_budget = [
        {(point["waits"], None if point["waits"] else point["limit"]): point for point in points} for points in curves
    ]
    common = [budget for budget in by_budget[0] if all(budget in points for points in by_budget)]
    return [tuple(points[budget] for points in by_budget) for budget in common]


def _parallel(panel: Axes, curves: list[Json]) -> None:
    """pass@k and maj@k against the tokens of all k samples."""
    for stage in curves[0]["stages"]:
        several = list(zip(*(curve["parallel"][stage] for curve in curves), strict=True))
        x = [fmean(point["tokens"] for point in each) for each in several]
        for key, line in (("pass", "o-"), ("maj", "s--")):
            _band(panel, x, [_together(each, key) for each in several], COLOURS[stage], line, f"{stage}, {key}@k")
    panel.set_xlabel("tokens of all k samples")
    panel.legend(frameon=False, fontsize=8)


def _together(points: Sequence[Json], key: str) -> Estimate:
    return across_seeds([Estimate(**point[key]) for point in points])


def _band(axes: Axes, x: list[float], y: list[Estimate], colour: str, line: str, label: str) -> None:
    axes.plot(x, [point.value for point in y], line, color=colour, markersize=4, linewidth=1.5, label=label)
    axes.fill_between(x, [point.low for point in y], [point.high for point in y], color=colour, alpha=0.15, linewidth=0)


Panel = Callable[[Axes, list[Json]], None]
CURVES: dict[str, tuple[Panel, Panel]] = {
    "train-curve": (_train_tokens, _train_flops),
    "test-curve": (_sequential, _parallel),
}
