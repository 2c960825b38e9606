"""How often a demonstration doubts what it has just done."""

import random

MOST = 6  # rechecks of one result: a thinking that is carried on and on must have seen several


def rechecks(probability: float, again: float, rng: random.Random) -> int:
    """How many times a result is rechecked: once with `probability`, and each further time with `again`.

    The cold start teaches what follows a further recheck, not to ask for it. Draws nothing where `probability` is 0.
    """
    if probability == 0 or rng.random() >= probability:
        return 0
    count = 1
    while count < MOST and rng.random() < again:
        count += 1
    return count
