"""Rates with intervals, and paired differences of rates.

Every figure of the evaluation is a ratio of two sums over samples (correct answers over samples, repaired slips over
slips, thinking tokens over samples). Samples of one problem are alike, so intervals resample whole problems: the
cluster bootstrap (Cameron, Gelbach and Miller 2008, section III). Two checkpoints are compared on the same problems,
resampled together, so that what makes a problem hard for both cancels out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 4_000
LEVEL = 0.95
BOOTSTRAP_SEED = 0

Sums = tuple[np.ndarray, np.ndarray]  # numerators and denominators summed within each problem, (problems,) each


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval. `count` is the denominator: what the rate is a share of."""

    value: float
    low: float
    high: float
    count: int


def wilson(successes: int, trials: int) -> Estimate:
    """A proportion of independent trials with Wilson's score interval (Wilson 1927, equation 4).

    Raises ValueError for no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes of {trials} trials; expected 0 <= successes <= trials and trials > 0.")
    z = 1.959963984540054  # the 97.5% point of the standard normal distribution
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else centre - half  # exact at the ends, where rounding would leave them
    high = 1.0 if successes == trials else centre + half
    return Estimate(share, low, high, trials)


def ratio(numerators: np.ndarray, denominators: np.ndarray, *, signed: bool = False) -> Estimate | None:
    """Ratio of two sums with its cluster-bootstrap interval, or None where the denominator is 0.

    `numerators` and `denominators` are the sums within each problem, shape (problems,). `signed` says that numerators
    may be negative, down to minus their denominator, as gains minus losses are.

    Where every resample is the same a bootstrap has no width, and each problem is taken as one independent trial. Of a
    share (every numerator between 0 and its denominator) that is Wilson's interval of as many successes as come
    nearest to it. A signed measure has room on both sides: if no problem gained or lost, others might do either, as
    many as `wilson` allows for none.
    """
    if not denominators.sum():
        return None
    value, count = float(numerators.sum() / denominators.sum()), int(denominators.sum())
    trials = int((denominators > 0).sum())
    low, high = _interval(_ratios(numerators, denominators))
    alike = math.isclose(low, high, abs_tol=1e-12)  # sums of fractions, as of pass@k, differ by rounding
    if alike and signed:
        half = wilson(0, trials).high
        low, high = max(-1.0, value - half), min(1.0, value + half)
    elif alike and ((numerators >= 0) & (numerators <= denominators)).all():
        edge = wilson(round(value * trials), trials)
        low, high = edge.low, edge.high
    return Estimate(value, low, high, count)


def paired_difference(before: Sums, after: Sums) -> Estimate | None:
    """Ratio `after` minus ratio `before` over the same problems, with its paired cluster-bootstrap interval.

    Each is (numerators, denominators), shape (problems,), in the same order of problems. None where either
    denominator is 0; `count` is the number of problems.
    """
    if len(before[0]) != len(after[0]):
        raise ValueError(
            f"{len(before[0])} problems before and {len(after[0])} after; a paired comparison needs the same."
        )
    return contrast([before, after], [-1.0, 1.0])


def trend(points: Sequence[Sums]) -> Estimate | None:
    """The rise from the first to the last of several ordered ratios over the same problems, by the straight line.

    The least-squares line of the ratios on their order 0, 1, ..., m - 1 (the linear contrast of a repeated-measures
    design), times m - 1. The points' own distances do not enter, so no checkpoint outweighs another for standing far
    out on the axis. The interval resamples whole problems: there is a trend where it leaves out 0. Of two points it is
    their difference.
    """
    places = np.arange(len(points)) - (len(points) - 1) / 2
    return contrast(points, (places / (places**2).sum() * (len(points) - 1)).tolist())


def contrast(points: Sequence[Sums], weights: Sequence[float]) -> Estimate | None:
    """A weighted sum of ratios over the same problems, resampled together; None where a denominator is 0."""
    if not all(below.sum() for _, below in points):
        return None
    draws = np.stack([_ratios(*sums) for sums in points])  # (points, resamples)
    low, high = _interval(np.asarray(weights) @ draws)
    value = sum(w * above.sum() / below.sum() for w, (above, below) in zip(weights, points, strict=True))
    if low == high:
        # No problem differs, so no resample does; of other problems some might, as many as `wilson` allows for none.
        edge = wilson(0, len(points[0][0])).high * max(map(abs, weights))
        low, high = float(value - edge), float(value + edge)
    return Estimate(float(value), low, high, len(points[0][0]))


@lru_cache(maxsize=8)
def _resamples(problems: int, count: int) -> np.ndarray:
    """How often each of `count` resamples holds each problem, (count, problems); the same for every figure."""
    picks = np.random.default_rng(BOOTSTRAP_SEED).integers(0, problems, (count, problems))
    places = (picks + problems * np.arange(count)[:, None]).ravel()
    return np.bincount(places, minlength=count * problems).reshape(count, problems).astype(float)


def _ratios(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """The ratio of the sums in each resample, (resamples,); NaN where its denominator is 0."""
    resamples = _resamples(len(numerators), RESAMPLES)
    below = resamples @ denominators
    return np.divide(resamples @ numerators, below, out=np.full(RESAMPLES, np.nan), where=below > 0)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """The percentile interval; resamples in which the rate does not exist are left out."""
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
