"""What k samples of a problem are worth: one of them right (pass@k), the majority right (maj@k).

Each is the exact mean over every way of taking k of the n samples that were drawn, so it is unbiased for a fresh k, and
a larger n only makes it steadier. Per problem; the mean over problems and its interval come from `estimators.ratio`.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that k of `samples` hold at least one of the `correct` (Chen et al. 2021, equation 1).

    Not best@k of k samples once drawn, which is the same in the mean but far noisier. Raises ValueError for k outside
    1 to `samples`.
    """
    _check(samples, k)
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def maj_at_k(votes: Sequence[str | None], right: set[str], ks: Sequence[int]) -> list[float]:
    """The chance, for each k, that the answer given most often among k of the samples is right.

    `votes` are the samples' answers, None where a sample gives none: it takes up a place and votes for nothing. `right`
    are the right ones among them. A tie goes to one of the tied answers at random, each alike; without a vote the
    majority is wrong.

    With m votes for a right answer, t others tied with it and the rest below, the credit is 1 / (t + 1). The ways that
    this happens are counted by a generating function: x counts samples taken, y answers tied.
    """
    for k in ks:
        _check(len(votes), k)
    most = max(ks)
    counts = Counter(vote for vote in votes if vote is not None)
    silent = len(votes) - counts.total()
    credit = np.zeros(most + 1)  # by k: ways to take k samples, weighed by what they are worth
    for answer in right & counts.keys():
        others = [count for other, count in counts.items() if other != answer]
        for m in range(1, min(counts[answer], most) + 1):
            ways = _ways(others, silent, m, most - m)  # (taken besides, tied)
            shares = 1 / np.arange(1, ways.shape[1] + 1)
            credit[m:] += math.comb(counts[answer], m) * (ways @ shares)
    return [float(credit[k] / math.comb(len(votes), k)) for k in ks]


def _ways(others: Sequence[int], silent: int, m: int, most: int) -> np.ndarray:
    """Ways to take 0 to `most` samples, no other answer more than m times, by how many are taken m times."""
    ways = np.zeros((most + 1, most // m + 1))
    ways[: silent + 1, 0] = [math.comb(silent, size) for size in range(min(silent, most) + 1)]
    for count in others:
        after = np.zeros_like(ways)
        for size in range(min(count, m, most) + 1):
            tie = int(size == m)
            after[size:, tie:] += math.comb(count, size) * ways[: most + 1 - size, : ways.shape[1] - tie]
        ways = after
    return ways


def _check(samples: int, k: int) -> None:
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k} with {samples} samples of a problem; expected 1 <= k <= {samples}.")
