"""Which problems to ask next: first those that the model solves sometimes, since the others teach it nothing.

How often a problem is solved is estimated from its own rollouts; of one that has none, from problems that look alike
(the same words, numbers of as many digits), and of a new kind from its task. Problems wait in a queue, those that were
just asked at its end, so what is asked next is a function of the state alone: a resumed run asks what an unbroken one
would have asked, and all processes ask the same.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from data.problem import Problem

BAND = (0.2, 0.8)  # success rates from which there is most to learn: the variance of a reward is p (1 - p)
EXPLORED = 0.1  # share of problems asked out of their turn: what was hopeless, or mastered, may not be so any more
# Of windows from 16 to 1024 and priors from 2 to 16 these foretold best how the groups of the quickstart would do.
WINDOWS = (512, 512, 32)  # rollouts that a success rate looks back on: of a task, of problems that look alike, of one
PRIOR = 8  # rollouts that the wider kind counts for in the estimate of the narrower


def look(problem: Problem) -> str:
    """What problems that look alike have in common: `countdown numbers 0 0 0 target 00`."""
    return f"{problem.task} {re.sub(r'[0-9]', '0', problem.prompt)}"


class SuccessRates:
    """How often each kind of problem is solved: a task, problems of it that look alike, one problem."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[float, float]] = {}  # of a kind: successes, rollouts

    def record(self, kinds: Sequence[str], successes: int, rollouts: int) -> None:
        """Take note of rollouts of one problem, which is of all these `kinds`; what a window has no room for fades."""
        for kind, window in zip(kinds, WINDOWS, strict=True):
            solved, seen = self.counts.get(kind, (0.0, 0.0))
            kept = min(1.0, max(0.0, window - rollouts) / seen) if seen else 1.0
            self.counts[kind] = (kept * solved + successes, kept * seen + rollouts)

    def estimate(self, kinds: Sequence[str]) -> float:
        """The success rate to expect of the last of `kinds`, which go from the widest to the narrowest.

        The mean of a Beta posterior whose prior is the estimate of the kind before, worth PRIOR rollouts; of the
        widest, one half.
        """
        rate = 0.5
        for kind in kinds:
            solved, seen = self.counts.get(kind, (0.0, 0.0))
            rate = (solved + PRIOR * rate) / (seen + PRIOR)
        return rate


class Curriculum:
    """Chooses among `problems`, by their number, and learns from what comes of it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.kinds = [(problem.task, look(problem), problem.prompt) for problem in problems]
        self.rates = SuccessRates()
        self.queue = list(range(len(problems)))
        self.owed = 0.0  # explorations that are due, a fraction of one included

    def estimate(self, number: int) -> float:
        """The success rate to expect of a problem."""
        return self.rates.estimate(self.kinds[number])

    def record(self, number: int, successes: int, rollouts: int) -> None:
        """Take note of what came of asking a problem."""
        self.rates.record(self.kinds[number], successes, rollouts)

    def next(self, count: int, asked: Collection[int] = ()) -> list[int]:
        """The next `count` problems, which then go to the end of the queue: of those in the band the longest waiting.

        A share of EXPLORED are the longest waiting of the others. Where the band has too few, those nearest to it fill
        up. No prompt comes twice, or again where it is among those `asked`; so there may be fewer than `count`.
        """
        prompts = {self.kinds[number][-1] for number in asked}
        self.owed = min(self.owed, 1.0) + EXPLORED * count
        chosen: list[int] = []
        passed_over: list[int] = []
        for number in self.queue:
            prompt = self.kinds[number][-1]
            if len(chosen) == count:
                break
            if prompt in prompts:
                continue
            if not in_band(self.estimate(number)):
                if self.owed < 1:
                    passed_over.append(number)
                    continue
                self.owed -= 1
            chosen.append(number)
            prompts.add(prompt)
        for number in sorted(passed_over, key=lambda number: abs(self.estimate(number) - sum(BAND) / 2)):
            if len(chosen) < count and self.kinds[number][-1] not in prompts:
                chosen.append(number)
                prompts.add(self.kinds[number][-1])
        gone = set(chosen)
        self.queue = [number for number in self.queue if number not in gone] + chosen
        return chosen

    def share_in_band(self) -> float:
        """The share of all problems whose estimate lies in the band."""
        return sum(in_band(self.estimate(number)) for number in self.queue) / len(self.queue)

    def state_dict(self) -> dict[str, Any]:
        """All that `next` depends on, as plain values."""
        return {"counts": dict(self.rates.counts), "queue": list(self.queue), "owed": self.owed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.rates.counts, self.queue, self.owed = dict(state["counts"]), list(state["queue"]), state["owed"]


def in_band(rate: float) -> bool:
    """Whether there is much to learn at this success rate."""
    return BAND[0] <= rate <= BAND[1]
