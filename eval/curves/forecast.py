"""Does a fit on the first half of the checkpoints predict the second half of the curve?

Two curves of accuracy against training FLOPs C: the log-linear one of o1's figure, a + b ln C, and the saturating one
of ScaleRL (Khatri et al. 2025, arXiv 2510.13786, equation 1), R0 + (A - R0) / (1 + (Cmid / C)^B), R0 the accuracy
before RL, A the accuracy that it tends to, Cmid the compute half way, B how fast.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FEWEST = {"log_linear": 2, "saturating": 3}  # points that each curve needs: as many as it has parameters
EXPONENTS = np.geomspace(0.2, 6, 60)
MIDPOINTS = np.geomspace(1e-4, 1e4, 160)  # times the largest compute fitted on
Curve = Callable[[np.ndarray], np.ndarray]


def forecast(flops: Sequence[float], accuracies: Sequence[float], halves: Sequence[float]) -> dict[str, Any] | None:
    """Both curves fitted on the first half of the checkpoints after RL, and how far they miss the second.

    The first of the points is the accuracy before RL, at no FLOPs; `halves` are half the widths of the
    points' intervals. `error` is the mean absolute difference of the predictions, `noise` the mean of `halves` over the
    points predicted: an error below it cannot be told from none. None where there are too few checkpoints to fit one.
    """
    start, compute, later = accuracies[0], np.asarray(flops[1:]), np.asarray(accuracies[1:])
    first = (len(compute) + 1) // 2
    fits: dict[str, Callable[[np.ndarray, np.ndarray], tuple[Curve, dict[str, float]]]] = {
        "log_linear": fit_log_linear,
        "saturating": lambda c, r: fit_saturating(c, r, start),
    }
    curves: dict[str, Any] = {}
    for name, fit in fits.items():
        if first >= FEWEST[name] and first < len(compute):
            curve, parameters = fit(compute[:first], later[:first])
            prediction = curve(compute[first:])
            curves[name] = {
                **parameters,
                "fitted": curve(compute[:first]).tolist(),
                "predicted": prediction.tolist(),
                "error": float(np.abs(prediction - later[first:]).mean()),
            }
    if not curves:
        return None
    return {"fitted_on": first, "noise": float(np.mean(halves[1 + first :])), "curves": curves}


def fit_log_linear(compute: np.ndarray, accuracies: np.ndarray) -> tuple[Curve, dict[str, float]]:
    """The least-squares line over the logarithm of compute, and its parameters."""
    slope, intercept = np.polyfit(np.log(compute), accuracies, 1)
    return lambda c: intercept + slope * np.log(c), {"intercept": float(intercept), "slope": float(slope)}


def fit_saturating(compute: np.ndarray, accuracies: np.ndarray, start: float) -> tuple[Curve, dict[str, float]]:
    """The saturating curve of the least squares: every B and Cmid of a grid, with the best A (0 to 1) for each."""
    best: tuple[float, float, float, float] = (np.inf, start, 1.0, 1.0)
    for exponent in EXPONENTS:
        for midpoint in MIDPOINTS * compute.max():
            share = 1 / (1 + (midpoint / compute) ** exponent)  # of the way from R0 to A
            asymptote = float(np.clip(start + share @ (accuracies - start) / (share @ share), 0, 1))
            squares = float(((start + (asymptote - start) * share - accuracies) ** 2).sum())
            best = min(best, (squares, asymptote, float(midpoint), float(exponent)))
    _, asymptote, midpoint, exponent = best

    def curve(c: np.ndarray) -> np.ndarray:
        return start + (asymptote - start) / (1 + (midpoint / c) ** exponent)

    return curve, {"asymptote": asymptote, "midpoint": midpoint, "exponent": exponent}
