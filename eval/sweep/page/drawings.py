"""The plots of a sweep's page.

A trial has one colour and one mark in all of them: the first five of the ranking their own, the others none. By the ids
of their lines the page's script lights one trial up everywhere.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from eval.measures.sample_measures import SAMPLE_MEASURES
from eval.report.plots import GRID, INK, LARGE, MARKERS, MUTED, PERCENT, SMALL, TASK_COLOURS, Plot, bare_plot, plot
from eval.sweep.ranking.results import Entry, Results
from eval.sweep.setup.space import Dimension, show_value

WIDE = (9.2, 3.4)


def colour(place: int | None) -> str:
    """The colour of a trial by its place in the ranking, from 0; `place` is None for one that is not ranked."""
    return TASK_COLOURS[place] if place is not None and place < len(TASK_COLOURS) else MUTED


def curves(results: Results) -> Plot | None:
    """The validation curves of all trials over each other; those that were not brought to their end are dotted."""
    entries = [entry for entry in (*results.ranked, *results.others) if entry.curve]
    if not entries:
        return None

    def draw(axes: Axes) -> None:
        places = {entry.number: place for place, entry in enumerate(results.ranked)}
        for entry in reversed(entries):  # the first of the ranking on top
            place = places.get(entry.number)
            x, y = list(entry.curve), list(entry.curve.values())
            _line(axes, entry, x, y, place, linestyle=":" if place is None else "-")
            if place is not None and place < len(TASK_COLOURS):
                axes.plot(x[-1:], y[-1:], color=colour(place), marker=MARKERS[place], markersize=5)
            if entry.trial.pruned_at is not None:
                axes.plot(x[-1:], y[-1:], color=MUTED, marker="x", markersize=5)
        axes.set_xlabel("RL step")
        _measured(axes, results)

    return plot("curves", "Validation curves of the trials", draw, WIDE)


def parallel(results: Results) -> Plot | None:
    """Each ranked trial as a line through its values, with its result on the right."""
    if len(results.ranked) < 2:
        return None
    space, last = results.spec.space, len(results.spec.space)
    values = [entry.estimate.value for entry in results.ranked if entry.estimate is not None]
    low, high = min(values), max(values)
    spread = high - low or 1.0

    def draw(axes: Axes) -> None:
        for place, entry in reversed(list(enumerate(results.ranked))):
            shift = 0.03 * (place / max(1, len(results.ranked) - 1) - 0.5)  # otherwise choices would hide each other
            heights = [_height(d, entry.trial.params[d.field]) + (shift if d.choices else 0) for d in space]
            _line(axes, entry, range(last + 1), [*heights, (values[place] - low) / spread], place)
        for at, dimension in enumerate(space):
            _ends(axes, at, *map(show_value, (dimension.ends[0], dimension.ends[-1])))
            for value in dimension.ends[1:-1]:
                axes.text(at + 0.02, _height(dimension, value), show_value(value), va="center", color=INK, zorder=5)
        _ends(axes, last, _shown(results, low), _shown(results, high))
        axes.set_xticks(range(last + 1), [*(d.field for d in space), results.spec.metric])
        axes.tick_params(axis="x", length=0, pad=12, labelcolor=INK)
        axes.set_yticks([])
        axes.vlines(range(last + 1), 0, 1, color=GRID, linewidth=1, zorder=0)
        axes.set_xlim(-0.25, last + 0.25)
        axes.spines["bottom"].set_visible(False)

    return bare_plot("parallel", "Each trial's values and what it came to", draw, WIDE)


def slices(results: Results) -> list[tuple[str, Plot]]:
    """For each field the trials' results by its value, over all values of the others, with 95% intervals."""
    if len(results.ranked) < 2:
        return []
    return [(d.field, _slice(results, d, number)) for number, d in enumerate(results.spec.space)]


def importance(results: Results) -> Plot | None:
    """The importances as bars."""
    shares = results.importances.shares
    if not shares:
        return None

    def draw(axes: Axes) -> None:
        names = list(shares)[::-1]
        axes.barh(
            names, [shares[name] for name in names], color=MUTED if results.importances.caution else INK, height=0.6
        )
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlim(0, 1)

    return bare_plot("importances", "Importance of each field", draw, (LARGE[0], 0.7 + 0.32 * len(shares)))


def _slice(results: Results, dimension: Dimension, number: int) -> Plot:
    def draw(axes: Axes) -> None:
        for place, entry in reversed(list(enumerate(results.ranked))):
            assert entry.estimate is not None  # it is ranked
            x = entry.trial.params[dimension.field]
            if dimension.choices:
                x = dimension.grid.index(x) + 0.3 * (place / max(1, len(results.ranked) - 1) - 0.5)
            y, (low, high) = entry.estimate.value, _within(results, entry)
            axes.errorbar(
                [x], [y], [[y - low], [high - y]], color=colour(place), marker=MARKERS[place % len(MARKERS)],
                markersize=4.5, elinewidth=0.8, linestyle="", gid=f"trial-{entry.number}-slice",
            )  # fmt: skip
        if dimension.choices:
            axes.set_xticks(range(len(dimension.choices)), [show_value(value) for value in dimension.grid])
            axes.set_xlim(-0.5, len(dimension.choices) - 0.5)
        elif dimension.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        _measured(axes, results)

    return bare_plot(f"slice-{number}", f"{results.spec.metric} by {dimension.field}", draw, SMALL)


def _line(axes: Axes, entry: Entry, x: Sequence[float], y: Sequence[float], place: int | None, **style: Any) -> None:
    """A trial's line, and an unseen broad one around it that a finger can hit."""
    strong = place is not None and place < len(TASK_COLOURS)
    style |= {"linewidth": 1.8 if strong else 0.9, "alpha": 1 if strong else 0.6, "zorder": 3 if strong else 2}
    axes.plot(x, y, color=colour(place), gid=f"trial-{entry.number}-line", **style)
    axes.plot(x, y, color=INK, linewidth=12, alpha=0, gid=f"trial-{entry.number}-hit", zorder=style["zorder"])


def _measured(axes: Axes, results: Results) -> None:
    """The vertical axis of the metric."""
    if _is_share(results):
        axes.yaxis.set_major_formatter(PERCENT)
    axes.set_ylabel(results.spec.metric)


def _shown(results: Results, value: float) -> str:
    return f"{value:.1%}" if _is_share(results) else f"{value:.4g}"


def _is_share(results: Results) -> bool:
    """Whether the metric is shown in percent."""
    return SAMPLE_MEASURES[results.spec.metric.partition("/")[0]].share


def _within(results: Results, entry: Entry) -> tuple[float, float]:
    """The ends of an interval as far as they can be drawn: t intervals of two seeds reach beyond every share."""
    assert entry.estimate is not None
    low, high = entry.estimate.low, entry.estimate.high
    return (max(0.0, low), min(1.0, high)) if _is_share(results) else (low, high)


def _height(dimension: Dimension, value: Any) -> float:
    """A value's place on its axis, from 0 to 1."""
    if dimension.choices:
        return 0.5 if len(dimension.choices) == 1 else dimension.grid.index(value) / (len(dimension.choices) - 1)
    low, high, at = (np.log(v) if dimension.log else v for v in (dimension.low, dimension.high, value))
    return float((at - low) / (high - low))


def _ends(axes: Axes, x: float, low: str, high: str) -> None:
    """Label the lower and the upper end of an axis."""
    axes.text(x, -0.03, low, va="top", ha="center", color=INK)
    axes.text(x, 1.03, high, va="bottom", ha="center", color=INK)
