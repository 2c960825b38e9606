"""Where a figure is found in the evidence of a run, and how it is read.

A figure is a typed path, made by one of the functions below. `tests/eval/claims` holds each path of each claim against
real evidence, so a measure that was renamed fails there. A file that lacks a figure is an error that names it, unless
the figure is optional. A null figure means that there was nothing to take a share of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.measures.estimators import Estimate, wilson
from train.files.untrusted import read_json

DETECTED = ("precision", "recall")  # taken from a detector's counts


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate in RUN/evaluation/`file`.json, at `keys`, names and places in lists.

    An `optional` one may be missing: a control that was not given, or a figure that an earlier version did not write.
    """

    file: str
    keys: tuple[str | int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{'.'.join(map(str, self.keys))}"

    def path(self, run: Path) -> Path:
        """The file of a run that holds it."""
        return run / "evaluation" / f"{self.file}.json"

    def read(self, run: Path) -> Estimate | None:
        """The figure of a run; None where the file is not there, the figure is null, or it is optional and missing.

        Raises ValueError, naming it, where the file lacks it or holds something else in its place.
        """
        path = self.path(run)
        return _at(read_json(path), self, path) if path.is_file() else None


def train_curve(*keys: str) -> Figure:
    """A figure of the train-compute curve."""
    return Figure("train-curve", keys)


def thinking_curve(*keys: str) -> Figure:
    """A figure of the test-compute curves."""
    return Figure("test-curve", keys)


def after(stage: str, measure: str) -> Figure:
    """A measure of a probe, of the trained model."""
    return Figure("probes", ("checkpoints", -1, stage, "measures", measure))


def change(stage: str, measure: str) -> Figure:
    """A measure of a probe, trained minus start, paired by problem."""
    return Figure("probes", ("pairs", -1, stage, "measures", measure))


def monitored(score: str) -> Figure:
    """Precision or recall of the monitor on traces labelled by hand, over all its flags: the same for every run."""
    if score not in DETECTED:
        raise KeyError(f"the monitor has no {score}; expected one of: {', '.join(DETECTED)}.")
    return Figure("probes", ("detectors", "monitor", "all", score))


def against_baseline(*, best: bool) -> Figure:
    """Accuracy of the trained model minus that of the base model prompted step by step."""
    return Figure("step-by-step/results", ("pairs", 0, *(("best",) if best else ()), "measures", "accuracy"))


def control(name: str) -> Figure:
    """The trained model minus a control of equal compute."""
    return Figure("controls", (name, "difference"), optional=True)


def _at(content: Any, figure: Figure, path: Path) -> Estimate | None:
    try:
        for key in figure.keys:
            if content is None:
                return None
            if key in DETECTED:
                return _score(content, str(key))
            content = content[key]
        return None if content is None else Estimate(**content)
    except (KeyError, IndexError):
        if figure.optional:
            return None
        raise ValueError(f"{path} has no figure {figure}; it was written by another version: evaluate anew.") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as evidence: {figure} is not an estimate ({error}).") from None


def _score(counts: Mapping[str, int], key: str) -> Estimate | None:
    trials = counts["right"] + counts["extra" if key == "precision" else "missed"]
    return wilson(counts["right"], trials) if trials else None
