"""The scaling curves and the probes' tables of the page, from RUN/evaluation where they were measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from eval.curves.curve_plots import draw_curve, read_curves
from eval.probes.probe_table import SECTIONS, sections
from eval.report.load import Json, read_json
from eval.report.plots import STYLE, Plot
from eval.table import short_names

ALTS = {
    "train-curve": "Accuracy against what RL had spent, in tokens and in FLOPs",
    "test-curve": "Accuracy against thinking tokens, and against the tokens of several samples",
}


EVERY = ("injection",)  # stages that show every checkpoint, not the ends alone


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the probes: its heading, the checkpoints that are its columns, and rows of words and figures."""

    heading: str
    names: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes found, on how many problems, and how well each detector finds each label.

    `changes` says whether the last column of every section is the change from the first checkpoint to the last. A row
    of `detectors` is names, precision, recall, and how many were labelled.
    """

    problems: int
    changes: bool
    sections: list[Section]
    detectors: list[tuple[str, float, float, int]]


def scaling_curves(runs: Sequence[Path]) -> dict[str, Plot]:
    """The curves that all runs have, by name. Raises ValueError for a file that holds no such curve."""
    plots = {}
    for name, curves in read_curves(runs).items():
        try:
            with matplotlib.rc_context(STYLE):
                figure = draw_curve(name, curves)
        except (KeyError, IndexError, TypeError) as error:
            path = runs[0] / "evaluation" / f"{name}.json"
            raise ValueError(f"{path} is not what scripts/claims.py writes ({error!r}); run it anew.") from None
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        plots[name] = Plot(name, ALTS[name], figure)
    return plots


def probes(run: Path) -> Probes | None:
    """The probes of a run's checkpoints before and after RL; None where it was not probed."""
    path = run / "evaluation" / "probes.json"
    if not path.is_file():
        return None
    results: Json = read_json(path, dict)
    try:
        checkpoints, pair = results["checkpoints"], (results["pairs"] or [None])[-1]
        names = short_names([row["checkpoint"] for row in checkpoints])
        before, *after = range(len(checkpoints))
        base = [place for place in after if checkpoints[place]["checkpoint"] == results.get("base")]
        after = [place for place in after if place not in base]
        tables = []
        for stage, title, measures in SECTIONS:
            places = [*base, before, *(after if stage in EVERY else after[-1:])]
            labels = [f"{names[place]} (base)" if place in base else names[place] for place in places]
            parts = sections(stage, title, measures, [checkpoints[place] for place in places], pair)
            tables += [Section(heading, labels, rows) for heading, rows in parts]
        scores = [
            (f"{detector}, {label}", score["precision"], score["recall"], score["right"] + score["missed"])
            for detector, labels in results["detectors"].items()
            for label, score in labels.items()
        ]
        return Probes(results["settings"]["problems"], pair is not None, tables, scores)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path} is not what scripts/probe.py writes ({error!r}); run it anew.") from None
