"""Whether a model's best decoding may be hotter than every temperature that it was sampled at.

A model that is too sharp (its logits multiplied, say) is at its best above the hottest temperature of the grid. Sampled
on the grid alone it looks worse than it is, and a plain model looks better than it, by a temperature and nothing else.

A model that solves almost nothing at every temperature tried has no fall to show. Its accuracy is taken to stay small
above the grid too, so nothing is said of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eval.claims.conditions import SMALLEST
from eval.claims.figures import train_curve
from eval.measures.estimators import Estimate
from eval.measures.seeds import across_seeds

Model = Literal["start", "trained"]
MODELS = {"start": ("start", "smaller"), "trained": ("trained model", "larger")}  # what the gain is if it is better


@dataclass(frozen=True, slots=True)
class Tried:
    """What a model did over its grid. `upper_bound` is the highest upper bound of its accuracy at any temperature."""

    temperatures: list[float]
    best: float
    fall: Estimate | None
    upper_bound: float


def may_be_hotter(curves: Mapping[Path, dict[str, Any]], model: Model) -> str:
    """What to say where a model's accuracy is not shown to fall by the hottest temperature tried; else empty.

    `curves` holds the content of `train-curve.json` of each run. One of an earlier version, which did not ask, says
    nothing. Nor does a run whose model solves less than SMALLEST at every temperature, by the upper bounds. Raises
    ValueError for a record that cannot be read.
    """
    read = {run: _read(run, curve, model) for run, curve in curves.items() if "hottest" in curve}
    found = {run: tried for run, tried in read.items() if tried.upper_bound >= SMALLEST}
    falls = [tried.fall for tried in found.values() if tried.fall is not None]
    fall = across_seeds(falls) if falls and len(falls) == len(found) else None
    if not found or (fall is not None and fall.low > 0):
        return ""
    hottest = {run.name: f"{max(tried.temperatures):g}" for run, tried in found.items()}
    tried_last = f"temperature {next(iter(hottest.values()))}, the hottest tried"
    if len(set(hottest.values())) > 1:
        tried_last = f"the hottest temperature tried, {', '.join(f'{at} in {name}' for name, at in hottest.items())}"
    grid = sorted({temperature for tried in found.values() for temperature in tried.temperatures})
    hotter = (1.5 * grid[-1], 2 * grid[-1]) if grid[-1] else (0.5, 1.0)
    points = ""
    if fall is not None:
        low, value, high = (f"{0 - 100 * at:+.1f}".replace("-", "−") for at in (fall.high, fall.value, fall.low))
        points = f"; from the best colder one to the hottest it changes by {value} points [{low}, {high}]"
    name, gain = MODELS[model]
    best = _written(sorted({tried.best for tried in found.values()}))
    return (
        f"{', '.join(hottest)}: the accuracy of the {name} is not shown to fall by {tried_last} (best: {best}{points})"
        f", so its best may be hotter and the gain {gain}; give hotter ones, such as "
        f"--temperatures {_written([*grid, *hotter], ' ')}."
    )


def _read(run: Path, curve: dict[str, Any], model: Model) -> Tried:
    """The record of a model; one of an earlier version has no `upper_bound`, which is then 1."""
    figure = train_curve("hottest", model)
    try:
        record = {"upper_bound": 1.0} | curve["hottest"][model]
        fall = None if record["fall"] is None else Estimate(**record["fall"])
        tried = Tried(record["temperatures"], record["best"], fall, record["upper_bound"])
        numbers = [max(tried.temperatures), *tried.temperatures, tried.best, tried.upper_bound]
        numbers += [] if fall is None else [fall.low, fall.value, fall.high]
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError(f"numbers are expected in {record}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{figure.path(run)} cannot be read as evidence: {figure} is malformed ({error!r}): evaluate anew."
        ) from None
    return tried


def _written(temperatures: list[float], between: str = ", ") -> str:
    return between.join(f"{temperature:g}" for temperature in temperatures)
