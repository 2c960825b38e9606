"""How far RL moved a model from its start; forgetting grows with this distance.

RL's Razor (Shenfeld et al. 2025, arXiv 2509.04259) finds that the KL divergence on the new task foretells forgetting.
"""

from collections.abc import Sequence

import numpy as np

from eval.measures.estimators import Estimate, ratio


def kl_divergence(trained: Sequence[np.ndarray], start: Sequence[np.ndarray]) -> Estimate | None:
    """KL(trained || start) in nats a token, from completions that the trained model sampled at temperature 1.

    Each array holds the log-probabilities of one problem's completion, (tokens,), by either model. The estimate of a
    token is r - 1 - ln r with r = start / trained (Schulman 2020, "Approximating KL divergence", k3): unbiased, and
    never negative. The interval resamples problems. None where no completion has a token.
    """
    each = [np.expm1(there - here) - (there - here) for here, there in zip(trained, start, strict=True)]
    return ratio(np.array([one.sum() for one in each]), np.array([float(len(one)) for one in each]))
