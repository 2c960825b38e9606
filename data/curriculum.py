"""Chooses the next problems: first those that the model solves sometimes, since the others teach it nothing.

How often a problem is solved is estimated from its own rollouts; of one that has none, from problems that look alike
(the same words in any order, numbers of as many digits), and of a new kind from its task. Each task is asked as often
as its share of the problems says: one that is still too hard would otherwise never be practised beside an easier one.
Those that wait longest come first, and nothing is random: a resumed run asks what an unbroken one would have asked,
and all processes the same.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from typing import Any

from data.problem import Problem

BAND = (0.2, 0.8)  # success rates that teach most: the variance of a reward is p (1 - p)
KEPT = 0.5  # share of what is asked that was found in the band before
EXPLORED = 0.1  # share that is expected out of it: what was hopeless, or mastered, may not be so any more
# The best predictors of the quickstart's groups among windows from 16 to 1024 and priors from 2 to 16.
WINDOWS = (512, 512, 32)  # rollouts that a success rate looks back on: of a task, of problems that look alike, of one
PRIOR = 8  # rollouts that the wider kind counts for in the estimate of the narrower


def look(problem: Problem) -> str:
    """The features by which problems look alike, such as `arithmetic * + 0 00 compute`."""
    return " ".join([problem.task, *sorted(set(re.sub(r"[0-9]", "0", problem.prompt).split()))])


class SuccessRates:
    """How often each kind of problem is solved: a task, problems of it that look alike, one problem."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[float, float]] = {}  # of a kind: successes, rollouts

    def record(self, kinds: Sequence[str], successes: int, rollouts: int) -> None:
        """Count rollouts of one problem, which is of all these `kinds`; older ones fade as a window fills."""
        for kind, window in zip(kinds, WINDOWS, strict=True):
            wins, total = self.counts.get(kind, (0.0, 0.0))
            share = min(1.0, max(0.0, window - rollouts) / total) if total else 1.0
            self.counts[kind] = (share * wins + successes, share * total + rollouts)

    def seen(self, kind: str) -> float:
        """The success rate of a kind that has been asked."""
        successes, total = self.counts[kind]
        return successes / total

    def estimate(self, kinds: Sequence[str]) -> float:
        """The success rate to expect of the last of `kinds`, which go from the widest to the narrowest.

        The mean of a Beta posterior whose prior is the estimate of the kind before, worth PRIOR rollouts; of the
        widest, one half.
        """
        rate = 0.5
        for kind in kinds:
            successes, total = self.counts.get(kind, (0.0, 0.0))
            rate = (successes + PRIOR * rate) / (total + PRIOR)
        return rate


class Curriculum:
    """Chooses among `problems`, by their number, and learns from the outcomes.

    A problem found to be in the band is kept, and asked again until it leaves the band.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.kinds = [(problem.task, look(problem), problem.prompt) for problem in problems]
        self.rates = SuccessRates()
        # Ordered sets: every problem waits in one of them, and the longest waiting stands first.
        self.kept: dict[int, None] = {}
        self.others = dict.fromkeys(range(len(problems)))
        self.shares = {task: n / len(problems) for task, n in Counter(task for task, _, _ in self.kinds).items()}
        self.due = dict.fromkeys(self.shares, 0.0)  # places that each task has still to get; below 0, had early
        self.held = dict.fromkeys(self.shares, 0.0)  # places that are due to what is kept; fractions are carried over
        self.owed = dict.fromkeys(self.shares, 0.0)  # explorations that are due, a fraction of one included

    def estimate(self, number: int) -> float:
        """The success rate to expect of a problem."""
        return self.rates.estimate(self.kinds[number])

    def record(self, number: int, successes: int, rollouts: int) -> None:
        """Record the outcome of a problem; from now on it waits for its next turn."""
        self.rates.record(self.kinds[number], successes, rollouts)
        for waiting in (self.kept, self.others):
            waiting.pop(number, None)
        here = self.kept if in_band(self.rates.seen(self.kinds[number][-1])) else self.others
        here[number] = None

    def next(self, count: int, exclude: Collection[int] = ()) -> list[int]:
        """`count` problems to ask, none with a prompt of a problem in `exclude`; fewer where there are no more.

        Of each task, a share of KEPT from those that are kept, a share of EXPLORED from those that are expected out of
        the band, and the rest from those that are expected in it. Where these are too few, those nearest to the band
        fill up, and where a task has no more, the other tasks do.
        """
        prompts = {self.kinds[number][-1] for number in exclude}
        by_task = [self._of_task(task, places, prompts) for task, places in self._places(count).items()]
        # In turn, since each process takes a stretch of them: no process should get all the long ones.
        numbers = [number for turn in zip_longest(*by_task) for number in turn if number is not None]
        for task in self.shares:
            numbers += self._of_task(task, count - len(numbers), prompts)
        return numbers

    def _places(self, count: int) -> dict[str, int]:
        """How many of `count` each task gets, so that over all calls each has its share."""
        places = dict.fromkeys(self.shares, 0)
        for task, share in self.shares.items():
            self.due[task] += share * count
        for _ in range(count if places else 0):
            task = max(self.due, key=lambda task: self.due[task])
            self.due[task] -= 1
            places[task] += 1
        return places

    def _of_task(self, task: str, count: int, prompts: set[str]) -> list[int]:
        """At most `count` problems of `task`, none with one of `prompts`, which grow by theirs."""
        if not count:
            return []
        kept = [number for number in self.kept if self.kinds[number][0] == task]
        others = [number for number in self.others if self.kinds[number][0] == task]
        result: list[int] = []

        def take(numbers: Iterable[int], until: int) -> None:
            for number in numbers:
                if len(result) >= until:
                    return
                if self.kinds[number][-1] not in prompts:
                    prompts.add(self.kinds[number][-1])
                    result.append(number)

        self.held[task] = self.held[task] % 1 + KEPT * count
        take(kept, int(self.held[task]))
        self.held[task] -= len(result)
        self.owed[task] = min(self.owed[task], 1.0) + EXPLORED * count
        before = len(result)
        take(
            (number for number in others if not in_band(self.estimate(number))),
            min(count, before + int(self.owed[task])),
        )
        self.owed[task] -= len(result) - before
        take((number for number in others if in_band(self.estimate(number))), count)
        take(kept, count)
        if len(result) < count:
            take(sorted(others, key=lambda number: abs(self.estimate(number) - sum(BAND) / 2)), count)
        return result

    def share_in_band(self) -> float:
        """The share of all problems whose estimate lies in the band."""
        return sum(in_band(self.estimate(number)) for number in range(len(self.kinds))) / len(self.kinds)

    def state_dict(self) -> dict[str, Any]:
        """All that `next` depends on, as plain values."""
        return {
            "counts": dict(self.rates.counts),
            "kept": list(self.kept),
            "others": list(self.others),
            "due": dict(self.due),
            "held": dict(self.held),
            "owed": dict(self.owed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rates.counts = dict(state["counts"])
        self.due, self.held, self.owed = (dict(state[name]) for name in ("due", "held", "owed"))
        self.kept, self.others = dict.fromkeys(state["kept"]), dict.fromkeys(state["others"])


def in_band(rate: float) -> bool:
    """Whether there is much to learn at this success rate."""
    return BAND[0] <= rate <= BAND[1]
