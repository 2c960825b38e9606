"""Which of train, validation and test a problem belongs to.

A problem's split follows from a hash of its canonical content and the data seed alone. So the splits are disjoint
whatever is drawn, in whatever order, on whatever machine, and stay so as the difficulty settings change.
"""

import hashlib
from collections.abc import Mapping, Sequence

from data.problem import Problem
from data.task import Split

SHARES: dict[Split, float] = {"train": 0.80, "validation": 0.05, "test": 0.15}


def split_of(canonical: str, seed: int) -> Split:
    """The split that a problem belongs to, for good."""
    digest = hashlib.blake2b(f"{seed}|{canonical}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def problems_of(by_split: Mapping[Split, Sequence[Problem]], split: Split, seed: int) -> list[Problem]:
    """A fixed set's problems of one split, each canonical content once, in the set's order.

    The set's own splits are kept; missing ones are taken out of its `train` by hash. A problem of a held-out split is
    never in train, even if the set repeats it there.
    """
    held_out: set[str] = set()
    for own in ("test", "validation"):
        problems = {
            problem.canonical: problem for problem in by_split.get(own, ()) if problem.canonical not in held_out
        }
        if own == split and own in by_split:
            return list(problems.values())
        held_out |= problems.keys()
    rest = {problem.canonical: problem for problem in by_split.get("train", ()) if problem.canonical not in held_out}
    evaluation_splits = {split for split in ("validation", "test") if split in by_split}
    return [
        problem
        for canonical, problem in rest.items()
        if ("train" if (place := split_of(canonical, seed)) in evaluation_splits else place) == split
    ]
