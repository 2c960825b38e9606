"""The settings of arithmetic, its problems, and the verifier of their answers."""

import random
import re
from dataclasses import dataclass

from data.expression import ExpressionError, parse_expression
from data.problem import Problem, Verdict

NAME = "arithmetic"


@dataclass(frozen=True, slots=True)
class Settings:
    """Difficulty of the problems, and the habits of the demonstrated calculation (each a probability but `settled`)."""

    products: float = 0.5  # share of long multiplications; the rest are mixed chains
    digits: int = 3  # of the first factor, at most
    factor_digits: int = 1  # of the second factor, at most
    terms: int = 4  # of a mixed chain, at most; at least 3
    largest: int = 99  # value within a mixed chain
    slip: float = 0.15  # a step states a wrong value
    notice: float = 0.6  # the check of a slip recalculates the value; else it repeats the slip
    false_alarm: float = 0.01  # the check of a right step slips
    hasty: float = 0.0  # the calculation is skipped, and its value stated at once
    settled: bool = False  # each column ends with the digits that are settled, `so 4`
    recheck: float = 0.0  # `wait`, then the last step or columns are recalculated, or the whole of a hasty one
    again: float = 0.7  # a further recheck of the same result

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        for name, low, high in (("digits", 2, 6), ("factor_digits", 1, 4), ("terms", 3, 8), ("largest", 20, 99)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"arithmetic.{name} is {getattr(self, name)}; expected {low} to {high}.")
        for name in ("products", "slip", "notice", "false_alarm", "hasty", "recheck", "again"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"arithmetic.{name} is {getattr(self, name)}; expected a probability, 0 to 1.")


def generate(rng: random.Random, settings: Settings) -> Problem:
    """Draw a long multiplication or a mixed chain."""
    if rng.random() < settings.products:
        left = _number(rng, rng.randint(2, settings.digits))
        right = _number(rng, rng.randint(1, settings.factor_digits))
        return problem_of(f"{left} * {right}", left * right)
    while True:
        if chain := _chain(rng, settings):
            return problem_of(*chain)


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(max(2, 10 ** (digits - 1)), 10**digits - 1)


def _chain(rng: random.Random, settings: Settings) -> tuple[str, int] | None:
    """A sum of products and numbers, and its value; None where a partial sum leaves the range."""
    words: list[str] = []
    total = 0
    for position in range(rng.randint(3, settings.terms)):
        sign = rng.choice("+-") if position else "+"
        if rng.random() < 0.5:
            left, right = rng.randint(2, 9), rng.randint(2, 9)
            term, text = left * right, f"{left} * {right}"
        else:
            term = rng.randint(2, settings.largest // 2)
            text = str(term)
        total = total + term if sign == "+" else total - term
        if not 0 <= total <= settings.largest:
            return None
        words += [sign, text] if position else [text]
    return " ".join(words), total


def problem_of(expression: str, value: int) -> Problem:
    """The problem of an expression; the same numbers with the same value are the same problem."""
    numbers = " ".join(sorted(re.findall(r"\d+", expression), key=int))
    return Problem(
        task=NAME,
        prompt=f"compute {expression}",
        canonical=f"{NAME} {numbers} = {value}",
        facts={"expression": expression, "target": value},
    )


def recognise(prompt: str) -> Problem | None:
    """The problem that a person types in the words of `generate`; None for other text, or without a whole value."""
    match = re.fullmatch(r"compute (\d{1,6}(?: [-+*/] \d{1,6}){1,7})", prompt, re.ASCII)
    try:
        value = parse_expression(match[1]).value if match else None
    except ExpressionError:  # a division by zero
        return None
    return problem_of(match[1], int(value)) if match and value is not None and value.denominator == 1 else None


def verify(problem: Problem, answer: str) -> Verdict:
    """Judge a whole number in ASCII digits."""
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,17}", answer):
        return Verdict(correct=False, format=False, reason="no whole number")
    if int(answer) != problem.facts["target"]:
        return Verdict(correct=False, format=True, reason=f"{answer}, not {problem.facts['target']}")
    return Verdict(correct=True, format=True, reason="correct")
