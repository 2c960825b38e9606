"""Dynamic sampling: a group whose samples all got the same reward teaches nothing, and is replaced within the step.

As in DAPO (arXiv 2503.14476) groups are drawn until enough of them vary. Earlier steps tell how many extra groups are
needed, so one call of the back end is mostly enough. Or, as in SPEED (arXiv 2506.09016), a problem is screened first: a
few samples of its group are drawn, and the rest only where the rewards of those vary.

Choosing groups by their rewards reweights problems and does nothing else. What a sample adds to the gradient depends,
the rewards given, on its own reward alone; so whatever made us choose a group of which k of G samples are right, in
expectation it points along the gradient of its problem's success rate p, k (G - k) / (G p (1 - p)) times.

No process may wait for another inside a rollout. So in every round each draws from as many candidates as the others,
and all decide from the same shared facts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import ceil
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object

from data.curriculum import Curriculum
from data.problem import Problem
from train.rewards.correctness import EPSILON, CorrectnessReward
from train.rewards.rollout_log import RolloutRow

MEMORY = 0.8  # of what is known about the share of candidates that pass, kept from step to step


@dataclass(slots=True)
class Group:
    """A problem, by its number, and the samples drawn of it so far, with their verdicts once they are judged."""

    problem: int
    prompt_tokens: int
    completions: list[list[int]]
    logprobs: list[list[float]] | None
    forced: list[list[bool] | None]  # see `Rollout`
    rows: list[RolloutRow] = field(default_factory=list)

    @property
    def successes(self) -> int:
        """The number of correct samples."""
        return sum(row["correct"] for row in self.rows)

    @property
    def tokens(self) -> int:
        """The tokens of all samples, each counted with its prompt, as TRL does."""
        return sum(self.prompt_tokens + len(ids) for ids in self.completions)

    def take(self, later: "Group") -> None:
        """Add samples that were drawn later."""
        self.completions += later.completions
        self.forced += later.forced
        self.rows += later.rows
        if self.logprobs is not None:
            self.logprobs += later.logprobs or []


@dataclass(frozen=True, slots=True)
class Candidate:
    """A screened problem as every process knows it: who has its samples, and how they were judged."""

    problem: int
    owner: int
    spread: float
    successes: int

    @property
    def passes(self) -> bool:
        """Whether its rewards vary."""
        return self.spread > EPSILON


# Given numbers of problems, `first` and `count`: draws samples `first` to `first + count` of each.
Draw = Callable[[Sequence[int], int, int], list[Group]]


class DynamicSampling:
    """Fills batches with groups that vary, of problems that a curriculum chooses.

    The first `screening` samples of a group decide about it, or all where that is 0. A step draws at most `oversample`
    times the rollouts of its batch; where too few candidates pass until then, others fill up.
    """

    def __init__(self, problems: Iterable[str], reward: CorrectnessReward, screening: int, oversample: float) -> None:
        self.problems = [Problem.from_json(line) for line in problems]
        self.reward = reward
        self.screening = screening
        self.oversample = oversample
        self.curriculum = Curriculum(self.problems)
        self.passed, self.screened = 1.0, 2.0  # candidates of late, the older counting less
        self.left_out_tokens = 0  # of the whole run, on all processes

    def fill(self, step: int, share: int, size: int, draw: Draw) -> tuple[list[Group], int, dict[str, float]]:
        """The groups that a step trains on: on each process `share` of them, of `size` samples.

        Second, the tokens of the rollouts that are left out, on all processes; they are written down here. Third,
        metrics of the step.
        """
        processes, few = PartialState().num_processes, min(self.screening or size, size)
        most = int(share * processes * (1 + (self.oversample - 1) * size / few))
        candidates, own = self._screen(share * processes, most, few, draw)
        expected = sum(self.curriculum.estimate(one.problem) for one in candidates) / len(candidates)
        hands = deal(best(candidates, share * processes), processes, share)
        groups = _exchange(hands, own)
        if few < size:
            rest = self._judged(draw([group.problem for group in groups], few, size - few))
            for group, later in zip(groups, rest, strict=True):
                group.take(later)
        self._learn(candidates, hands, groups, few)
        passes = sum(one.passes for one in candidates)
        self.passed, self.screened = MEMORY * self.passed + passes, MEMORY * self.screened + len(candidates)
        metrics = {
            "dynamic_sampling/passed": passes / len(candidates),
            "dynamic_sampling/replaced": float(len(candidates) - share * processes),
            "curriculum/expected_accuracy": expected,
            "curriculum/in_band": self.curriculum.share_in_band(),
        }
        left_out = self._leave_out(list(own.values()), step)
        self.left_out_tokens += left_out
        return groups, left_out, metrics

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on, and the counts, as plain values."""
        return {
            "curriculum": self.curriculum.state_dict(),
            "candidates": (self.passed, self.screened),
            "left_out_tokens": self.left_out_tokens,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.curriculum.load_state_dict(state["curriculum"])
        self.passed, self.screened = state["candidates"]
        self.left_out_tokens = state["left_out_tokens"]

    def _screen(self, count: int, most: int, few: int, draw: Draw) -> tuple[list[Candidate], dict[int, Group]]:
        """Screen up to `most` candidates until `count` pass; returns those of all processes, and this one's groups."""
        rank, processes = PartialState().process_index, PartialState().num_processes
        candidates: list[Candidate] = []
        own: dict[int, Group] = {}
        while True:
            passes = sum(one.passes for one in candidates)
            passing = (self.passed + passes) / (self.screened + len(candidates))
            each = to_screen(passes, len(candidates), count, most, processes, passing)
            numbers = self.curriculum.next(each * processes, [one.problem for one in candidates])
            each = len(numbers) // processes  # problems may have run out
            if not each:
                return candidates, own
            numbers = numbers[: each * processes]
            groups = self._judged(draw(numbers[rank * each : (rank + 1) * each], 0, few))
            own |= {group.problem: group for group in groups}
            results = _of_all([[self.reward.spread(group.rows), group.successes] for group in groups])
            for place, (number, (varies, successes)) in enumerate(zip(numbers, results, strict=True)):
                candidates.append(Candidate(number, place // each, varies, int(successes)))

    def _judged(self, groups: list[Group]) -> list[Group]:
        problems = [self.problems[group.problem] for group in groups for _ in group.completions]
        rows = iter(self.reward.judge(problems, [ids for group in groups for ids in group.completions]))
        for group in groups:
            group.rows = list(islice(rows, len(group.completions)))
        return groups

    def _learn(self, candidates: list[Candidate], hands: list[list[Candidate]], groups: list[Group], few: int) -> None:
        """Pass the outcomes of all processes' problems to the curriculum."""
        totals = _of_all([[group.successes, len(group.rows)] for group in groups])
        whole = {one.problem: total for one, total in zip(chain(*hands), totals, strict=True)}
        for one in candidates:
            successes, rollouts = whole.get(one.problem, (one.successes, few))
            self.curriculum.record(one.problem, int(successes), int(rollouts))

    def _leave_out(self, groups: list[Group], step: int) -> int:
        """Record the rollouts that are not trained on; returns their tokens, summed over all processes."""
        if rows := [row for group in groups for row in group.rows]:
            self.reward.log.write(rows, step, "train", left_out=True)
        return int(sum(tokens for (tokens,) in _of_all([[sum(group.tokens for group in groups)]])))


def to_screen(passed: int, screened: int, count: int, most: int, processes: int, passing: float) -> int:
    """The number of further candidates that each process screens; 0 ends the screening.

    As many as should bring `count` that pass, where a share of `passing` does; in the first round at least as many as
    are wanted, and never more than `most` in all.
    """
    if passed >= count:
        return 0
    need = max(ceil((count - passed) / passing), count - screened)
    return min(ceil(need / processes), (most - screened) // processes)


def best(candidates: list[Candidate], count: int) -> list[Candidate]:
    """The `count` candidates whose rewards vary most, of equal ones the earlier, in the order in which they came."""
    places = sorted(range(len(candidates)), key=lambda place: -candidates[place].spread)[:count]
    return [candidates[place] for place in sorted(places)]


def deal(candidates: list[Candidate], processes: int, share: int) -> list[list[Candidate]]:
    """Give each process `share` of the chosen candidates, its own first, so that as few groups as possible move."""
    hands = [[one for one in candidates if one.owner == process] for process in range(processes)]
    spare = [one for hand in hands for one in hand[share:]]
    for hand in hands:
        del hand[share:]
        while len(hand) < share:
            hand.append(spare.pop(0))
    return hands


def _exchange(hands: list[list[Candidate]], own: dict[int, Group]) -> list[Group]:
    """The groups dealt to this process, whichever process sampled them; groups dealt to none stay in `own`."""
    moving = {one.problem for process, hand in enumerate(hands) for one in hand if one.owner != process}
    outgoing = [own.pop(number) for number in list(own) if number in moving]
    came = {group.problem: group for group in gather_object(outgoing)} if moving else {}
    hand = hands[PartialState().process_index]
    return [came[one.problem] if one.problem in moving else own.pop(one.problem) for one in hand]


def _of_all(rows: list[list[float]]) -> list[list[float]]:
    """The rows of all processes, by rank; each process has the same number."""
    return gather(torch.tensor(rows, device=PartialState().device)).tolist()
