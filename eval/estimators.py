"""Rates with intervals, and paired differences of rates.

Every figure of the evaluation is a ratio of two sums over samples (correct answers over samples, repaired slips over
slips, thinking tokens over samples). Samples of one problem are alike, so intervals resample whole problems: the
cluster bootstrap (Cameron, Gelbach and Miller 2008, section III). Two checkpoints are compared on the same problems,
resampled together, so that what makes a problem hard for both cancels out.
"""

import math
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4_000
LEVEL = 0.95
BOOTSTRAP_SEED = 0


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


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Estimate | None:
    """Ratio of two sums with its cluster-bootstrap interval, or None where the denominator is 0.

    `numerators` and `denominators` are the sums within each problem, shape (problems,).
    """
    if not denominators.sum():
        return None
    value, count = float(numerators.sum() / denominators.sum()), int(denominators.sum())
    if value in (0, 1) and (numerators <= denominators).all():
        # Every resample of a share that is 0 or 1 is the same; take each problem as one independent trial.
        trials = int((denominators > 0).sum())
        edge = wilson(round(value * trials), trials)
        return Estimate(value, edge.low, edge.high, count)
    low, high = _interval(_ratios(numerators, denominators, _resamples(len(numerators))))
    return Estimate(value, low, high, count)


def paired_difference(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> Estimate | None:
    """Ratio `after` minus ratio `before` over the same problems, with its paired cluster-bootstrap interval.

    Each is (numerators, denominators), shape (problems,), in the same order of problems. None where either
    denominator is 0; `count` is the number of problems.
    """
    if len(before[0]) != len(after[0]):
        raise ValueError(
            f"{len(before[0])} problems before and {len(after[0])} after; a paired comparison needs the same."
        )
    if not before[1].sum() or not after[1].sum():
        return None
    resamples = _resamples(len(before[0]))
    draws = _ratios(*after, resamples) - _ratios(*before, resamples)
    low, high = _interval(draws)
    value = after[0].sum() / after[1].sum() - before[0].sum() / before[1].sum()
    return Estimate(float(value), low, high, len(before[0]))


def _resamples(problems: int) -> np.ndarray:
    """Which problems each bootstrap resample holds, (resamples, problems); the same for every figure."""
    return np.random.default_rng(BOOTSTRAP_SEED).integers(0, problems, (RESAMPLES, problems))


def _ratios(numerators: np.ndarray, denominators: np.ndarray, resamples: np.ndarray) -> np.ndarray:
    below = denominators[resamples].sum(1)  # (resamples,)
    return np.divide(numerators[resamples].sum(1), below, out=np.full(len(resamples), np.nan), where=below > 0)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """The percentile interval; resamples in which the rate does not exist are left out."""
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
