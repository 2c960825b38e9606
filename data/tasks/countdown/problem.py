"""Countdown's settings, its problems, and the verifier of their answers."""

import random
import re
from collections import Counter
from dataclasses import dataclass, fields

from data.expression import ExpressionError, parse_expression
from data.problem import Problem, Verdict
from data.tasks.countdown.moves import Term, possible_moves, terms_after

NAME = "countdown"
PATIENCE = 20_000  # draws without a problem, after which the settings count as impossible


@dataclass(frozen=True, slots=True)
class Settings:
    """Difficulty of the problems, and the habits of the demonstrated search (each a probability but the counts)."""

    numbers: int = 3
    smallest: int = 1
    largest: int = 10
    largest_target: int = 40
    attempts: int = 10  # at most this many in a demonstration
    guided: float = 0.15  # a fresh try aims at a solution
    keep: float = 0.5  # after a failure, keep all steps but the last
    slip: float = 0.05  # a step states a wrong value
    notice: float = 0.5  # a slip is redone at once
    misjudge: float = 0.02  # the verdict on an attempt is wrong
    give_up: float = 0.1  # after a failure, stop without an answer
    hasty: float = 0.0  # the whole search stops at its first failure
    orderly: float = 0.0  # the search goes through the combinations in a fixed order, without a guide
    recheck: float = 0.0  # `wait` before the search continues, or before a successful attempt is recalculated
    again: float = 0.7  # a further recheck of the same attempt
    confirm: float = 0.0  # a success that begins with `or` is written again from its first step

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        if not 2 <= self.numbers <= 6:
            raise ValueError(f"countdown.numbers is {self.numbers}; expected 2 to 6.")
        if not 1 <= self.smallest <= self.largest <= 99:
            raise ValueError(
                f"countdown.smallest and .largest are {self.smallest} and {self.largest}; expected 1 <= smallest <= "
                "largest <= 99."
            )
        if not 1 <= self.largest_target <= 999:
            raise ValueError(f"countdown.largest_target is {self.largest_target}; expected 1 to 999.")
        if self.attempts < 1:
            raise ValueError(f"countdown.attempts is {self.attempts}; expected at least 1.")
        for name in (field.name for field in fields(self) if field.type is float):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"countdown.{name} is {getattr(self, name)}; expected a probability, 0 to 1.")


def generate(rng: random.Random, settings: Settings) -> Problem:
    """Draw numbers, and combine them by random moves to a whole-number target that is none of them.

    Raises ValueError where the settings allow (almost) no such target.
    """
    for _ in range(PATIENCE):
        numbers = sorted(rng.randint(settings.smallest, settings.largest) for _ in range(settings.numbers))
        terms = [Term(number, str(number)) for number in numbers]
        while len(terms) > 1 and (moves := possible_moves(terms, settings.largest_target)):
            terms = terms_after(terms, rng.choice(moves))
        target = terms[0].value
        if len(terms) == 1 and 0 < target <= settings.largest_target and target not in numbers:
            return _problem(f"numbers {' '.join(map(str, numbers))} target {target}", numbers, target)
    raise ValueError(
        f"countdown: of {PATIENCE:,} draws of {settings.numbers} numbers from {settings.smallest} to "
        f"{settings.largest} none led to a target up to {settings.largest_target}; widen these settings."
    )


def recognise(prompt: str) -> Problem | None:
    """The problem that a person types in the words of `generate`; None for other text, or a problem too large."""
    match = re.fullmatch(r"numbers((?: [1-9]\d?){2,6}) target ([1-9]\d{0,2})", prompt, re.ASCII)
    if match is None:
        return None
    return _problem(prompt, sorted(map(int, match[1].split())), int(match[2]))


def _problem(prompt: str, numbers: list[int], target: int) -> Problem:
    canonical = f"{NAME} {' '.join(map(str, numbers))} = {target}"  # the numbers are sorted
    return Problem(NAME, prompt, canonical, {"numbers": numbers, "target": target})


def verify(problem: Problem, answer: str) -> Verdict:
    """Judge an expression exactly: it uses every number once and nothing else, and its value is the target."""
    if answer == "none":
        return Verdict(correct=False, format=True, reason="gave up")
    try:
        expression = parse_expression(answer)
    except ExpressionError as error:
        return Verdict(correct=False, format=False, reason=f"no expression: {error}")
    if Counter(expression.numbers) != Counter(problem.facts["numbers"]):
        return Verdict(correct=False, format=True, reason="does not use each number exactly once")
    if expression.value != problem.facts["target"]:
        return Verdict(correct=False, format=True, reason=f"makes {expression.value}, not {problem.facts['target']}")
    return Verdict(correct=True, format=True, reason="correct")
