"""Several seeds of a run brought together: what would another run show?"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance

import numpy as np

from eval.measures.estimators import LEVEL, Estimate

NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)


def across_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """One figure of several independently trained runs, each measured on the same problems.

    Runs and problems are both samples: the interval must hold for another seed and for other problems. So the variance
    is that of the mean over seeds, s^2 / S, plus that over problems, the mean of the squared standard errors (not
    divided by S, since the seeds share their problems; that is on the safe side). The quantile is Student's t with
    Welch and Satterthwaite's degrees of freedom, S - 1 where the seeds differ more than the problems can explain.
    A bootstrap over seeds is no way here: with three seeds it has ten distinct resamples, and its variance is a third
    too small. `count` is the number of seeds. Raises ValueError for no estimate.
    """
    if not estimates:
        raise ValueError("there is no estimate to bring together; expected at least one seed.")
    if all(estimate == estimates[0] for estimate in estimates):  # what does not depend on the seed, or is of one
        return estimates[0]
    values = [estimate.value for estimate in estimates]
    between = variance(values) / len(values)
    within = fmean(((estimate.high - estimate.low) / (2 * NORMAL)) ** 2 for estimate in estimates)
    half = 0.0
    if total := between + within:
        freedom = (len(values) - 1) * (total / between) ** 2 if between > 1e-9 * within else math.inf
        half = t_quantile(freedom) * math.sqrt(total)
    return Estimate(fmean(values), fmean(values) - half, fmean(values) + half, len(values))


def t_quantile(freedom: float) -> float:
    """The 97.5% point of Student's t for at least one degree of freedom, whole or not: its density, summed up."""
    freedom = min(freedom, 1e9)  # beyond it t is the normal distribution
    t = np.linspace(0, 13, 13_001)  # one degree of freedom has its point at 12.7
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = scale * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    mass = np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(t))
    return float(np.interp(LEVEL / 2, mass, t[1:]))
