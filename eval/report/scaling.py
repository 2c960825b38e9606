"""The scaling curves and the probes' tables of the page, from RUN/evaluation where they were measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from eval.curve_plots import CURVES, draw_curve
from eval.probe_table import STAGES, sections
from eval.report.load import Row, read_json
from eval.report.plots import STYLE, Plot
from eval.table import short_names

ALTS = {
    "train-curve": "Accuracy against what reinforcement had spent, in tokens and in FLOPs",
    "test-curve": "Accuracy against thinking tokens, and against the tokens of several samples",
}


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes found: the checkpoints compared, and each section's heading and rows of words and figures.

    `detectors` says how well each detector finds each label: names, precision, recall, and how many were labelled.
    """

    names: list[str]
    problems: int
    sections: list[tuple[str, list[list[str]]]]
    detectors: list[tuple[str, float, float, int]]


def scaling_curves(runs: Sequence[Path]) -> dict[str, Plot]:
    """The curves that all runs have, by name. Raises ValueError for a file that holds no such curve."""
    found = {}
    for name in CURVES:
        paths = [run / "evaluation" / f"{name}.json" for run in runs]
        if not all(path.is_file() for path in paths):
            continue
        try:
            with matplotlib.rc_context(STYLE):
                figure = draw_curve(name, [read_json(path, dict) for path in paths])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{paths[0]} is not what scripts/claims.py writes ({error!r}); run it anew.") from None
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        found[name] = Plot(name, ALTS[name], figure)
    return found


def probes(run: Path) -> Probes | None:
    """The probes of a run's first and last checkpoint; None where it was not probed."""
    path = run / "evaluation" / "probes.json"
    if not path.is_file():
        return None
    measured: Row = read_json(path, dict)
    try:
        checkpoints, pair = measured["checkpoints"], (measured["pairs"] or [None])[-1]
        after = checkpoints[-1] if pair else None
        tables = [
            section
            for stage in STAGES
            for section in sections(stage, checkpoints[0][stage], after and after[stage], pair and pair[stage])
        ]
        names = short_names([row["checkpoint"] for row in checkpoints])
        scores = [
            (f"{detector}, {label}", score["precision"], score["recall"], score["right"] + score["missed"])
            for detector, labels in measured["detectors"].items()
            for label, score in labels.items()
        ]
        return Probes([names[0], names[-1]] if pair else names[:1], measured["settings"]["problems"], tables, scores)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path} is not what scripts/probe.py writes ({error!r}); run it anew.") from None
