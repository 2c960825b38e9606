"""Countdown's demonstrations: an imperfect, randomised search, written as a completion."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from data.doubt import rechecks
from data.problem import Problem
from data.tasks.countdown.moves import Move, Term, possible_moves, terms_after
from data.tasks.countdown.problem import Settings
from data.trace import STEP, calculate


@dataclass(frozen=True, slots=True)
class _Try:
    """One attempt of a demonstration: its first word, its steps from the start, and its last term.

    After `or` only the last step is written.
    """

    lead: str
    path: list[str]
    result: Term


def demonstrate(problem: Problem, rng: random.Random, settings: Settings) -> str:
    """Write one imperfect, randomised search as a completion: thinking, then the answer or `none`."""
    target = problem.facts["target"]
    start = [Term(number, str(number)) for number in problem.facts["numbers"]]
    attempts = _wander(start, target, rng, settings)
    hasty = settings.hasty > 0 and rng.random() < settings.hasty
    if settings.orderly > 0 and rng.random() < settings.orderly:
        attempts = _in_order(start, rng, settings)
    words: list[str] = []
    answer = "none"
    for attempt in islice(attempts, settings.attempts):
        succeeded = (attempt.result.value == target) != (rng.random() < settings.misjudge)
        words += [attempt.lead, " , ".join(attempt.path if attempt.lead == "try" else attempt.path[-1:])]
        words.append(_verdict(succeeded, target))
        confirms = succeeded and attempt.lead == "or" and settings.confirm > 0 and rng.random() < settings.confirm
        if confirms and not _slipped(attempt.path[:-1]):
            again, value = _again(attempt.path)
            succeeded = value == target
            words += [again, _verdict(succeeded, target)]
        doubted = False
        for _ in range(rechecks(settings.recheck, settings.again, rng)):
            doubted = True
            words.append("wait")
            if not succeeded:
                break
            again, value = _again(attempt.path)
            succeeded = value == target
            words += [again, _verdict(succeeded, target)]
        if succeeded:
            answer = attempt.result.text[2:-2]  # without the outermost parentheses
            break
        if not doubted and (hasty or rng.random() < settings.give_up):
            break
    return f"<think> {' '.join(words)}</think> {answer}"


def _verdict(succeeded: bool, target: int) -> str:
    return f"vs {target} {'yes' if succeeded else 'no'}"


def _again(path: Sequence[str]) -> tuple[str, int]:
    """An attempt recalculated, and its value.

    It is written out from its first step, so that the answer can be read off it however often that happens. An earlier
    slip stays, since the search goes on from it: then the last step alone is worked out.
    """
    *before, (last, value) = (_worked_out(stated) for stated in path)
    if _slipped(path[:-1]):
        return last, value
    return " ".join(["try", " , ".join([*(step for step, _ in before), last])]), value


def _slipped(path: Sequence[str]) -> bool:
    """Whether a step came to a wrong value in the end."""
    return any(not stated.endswith(_worked_out(stated)[0]) for stated in path)


def _worked_out(stated: str) -> tuple[str, int]:
    """The corrected step, and its value."""
    match = STEP.match(stated)
    assert match is not None
    value = calculate(int(match[1]), match[2], int(match[3]))
    assert value is not None
    return f"{match[1]} {match[2]} {match[3]} = {value}", int(value)


def _wander(start: Sequence[Term], target: int, rng: random.Random, settings: Settings) -> Iterator[_Try]:
    """Attempts in random order, none twice; each starts afresh or keeps the steps before the last one."""
    tried: set[str] = set()
    stem: Sequence[Term] | None = None  # the terms before the last move of the last attempt
    before: list[str] = []  # the steps that led to them
    for _ in range(settings.attempts):
        terms, steps = start, list[str]()
        lead = "try"
        if stem is not None and rng.random() < settings.keep and _untried(stem, tried, settings.largest_target):
            lead, terms, steps = "or", stem, before[:]
        guided = lead == "try" and rng.random() < settings.guided
        while len(terms) > 1:
            move = _choose(terms, target, tried, rng, settings, guided)
            if move is None:
                break
            if len(terms) == 2:
                stem, before = terms, steps[:]
            value, stated = _state(move, rng, settings)
            steps.append(stated)
            terms = terms_after(terms, move, value)
        if len(terms) > 1:  # every continuation was tried already, or leaves the range
            continue
        tried.add(terms[0].text)
        yield _Try(lead, steps, terms[0])


def _choose(
    terms: Sequence[Term], target: int, tried: set[str], rng: random.Random, settings: Settings, guided: bool
) -> Move | None:
    """The next move of a search: towards a solution where it is guided, else any untried move."""
    largest = settings.largest_target
    moves = _untried(terms, tried, largest) if len(terms) == 2 else possible_moves(terms, largest)
    if guided and (leading := [move for move in moves if _solvable(terms_after(terms, move), target)]):
        return rng.choice(leading)
    return rng.choice(moves) if moves else None


def _untried(terms: Sequence[Term], tried: set[str], largest: int) -> list[Move]:
    """The last moves from two terms that were not made before."""
    return [move for move in possible_moves(terms, largest) if terms_after(terms, move)[0].text not in tried]


def _solvable(terms: Sequence[Term], target: int) -> bool:
    if len(terms) == 1:
        return terms[0].value == target
    return any(_solvable(terms_after(terms, move), target) for move in possible_moves(terms, 999))


def _state(move: Move, rng: random.Random, settings: Settings) -> tuple[int, str]:
    """The value that the search continues with, and the step as written: right, slipped, or slipped and redone."""
    left_side = f"{move.left.value} {move.operator} {move.right.value}"
    right = f"{left_side} = {move.value}"
    if rng.random() >= settings.slip:
        return move.value, right
    wrong = rng.choice([value for near in (1, 2, 10) for value in (move.value - near, move.value + near) if value >= 0])
    if rng.random() < settings.notice:
        return move.value, f"{left_side} = {wrong} wait {right}"
    return wrong, f"{left_side} = {wrong}"


def _in_order(start: Sequence[Term], rng: random.Random, settings: Settings) -> Iterator[_Try]:
    """Every attempt, in an order in which each follows from the one before alone.

    A small model that searches like this need not remember its attempts, which would take all of its attention.
    """
    before: list[str] | None = None
    for steps, result in _leaves(start, [], rng, settings):
        yield _Try("or" if steps[:-1] == before else "try", steps, result)
        before = steps[:-1]


def _leaves(
    terms: Sequence[Term], steps: list[str], rng: random.Random, settings: Settings
) -> Iterator[tuple[list[str], Term]]:
    """Depth first, the steps to each single term that `terms` can be combined to."""
    for move in possible_moves(terms, settings.largest_target):
        value, stated = _state(move, rng, settings)
        after = terms_after(terms, move, value)
        if len(after) == 1:
            yield [*steps, stated], after[0]
        else:
            yield from _leaves(after, [*steps, stated], rng, settings)
