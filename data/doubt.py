"""How often a demonstration doubts what it has just done."""

import random

MOST = 6  # rechecks of one result: a thinking that is carried on and on must have seen several
AGAIN = 0.85  # the probability of a further recheck; the cold start teaches what follows it, not to ask for it


def rechecks(probability: float, rng: random.Random) -> int:
    """How many times a result is rechecked: at all with `probability`. Draws nothing where that is 0."""
    if probability == 0 or rng.random() >= probability:
        return 0
    count = 1
    while count < MOST and rng.random() < AGAIN:
        count += 1
    return count
