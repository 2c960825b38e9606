"""Whether a model's best decoding may be hotter than every temperature that it was sampled at.

A model that is too sharp (its logits multiplied, say) is at its best above the hottest temperature of the grid. Sampled
on the grid alone it looks worse than it is, and a plain model looks better than it, by a temperature and nothing else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from eval.measures.estimators import Estimate
from eval.measures.seeds import across_seeds

MODELS = {"start": ("start", "smaller"), "trained": ("trained model", "larger")}  # what the gain is if it is better


def may_be_hotter(curves: Mapping[Path, dict[str, Any]], model: Literal["start", "trained"]) -> str:
    """What to say where a model's accuracy is not shown to fall by the hottest temperature tried; else empty.

    `curves` holds the content of `train-curve.json` of each run. One of an earlier version, which did not ask, says
    nothing.
    """
    found = {run: curve["hottest"][model] for run, curve in curves.items() if "hottest" in curve}
    falls = [Estimate(**each["fall"]) for each in found.values() if each["fall"] is not None]
    fall = across_seeds(falls) if falls and len(falls) == len(found) else None
    if not found or (fall is not None and fall.low > 0):
        return ""
    grid = sorted({temperature for each in found.values() for temperature in each["temperatures"]})
    best = sorted({each["best"] for each in found.values()})
    hotter = (1.5 * grid[-1], 2 * grid[-1]) if grid[-1] else (0.5, 1.0)
    points = ""
    if fall is not None:
        low, value, high = (f"{0 - 100 * at:+.1f}" for at in (fall.high, fall.value, fall.low))
        points = f"; from the best colder one to the hottest accuracy changes by {value} points [{low}, {high}]"
    name, gain = MODELS[model]
    return (
        f"nothing in {', '.join(run.name for run in found)} shows that the {name} gets worse above temperature "
        f"{grid[-1]:g}, the hottest tried (its best of those: {_written(best)}{points}). So it may be better than "
        f"measured, and the gain {gain}. Sample hotter: --temperatures {_written([*grid, *hotter], ' ')}."
    )


def _written(temperatures: list[float], between: str = ", ") -> str:
    return between.join(f"{temperature:g}" for temperature in temperatures)
