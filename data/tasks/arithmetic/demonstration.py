"""Arithmetic's demonstrations: an imperfect calculation, written as a completion."""

import random
from collections.abc import Callable
from functools import partial

from data.doubt import rechecks
from data.problem import Problem
from data.tasks.arithmetic.problem import Settings
from data.trace import calculate


def demonstrate(problem: Problem, rng: random.Random, settings: Settings) -> str:
    """Write one imperfect calculation as a completion. A slip that goes unnoticed is carried to the answer."""
    scribe = _Scribe(rng, settings)
    if settings.hasty > 0 and rng.random() < settings.hasty:
        value = problem.facts["target"]
        scribe.words.append(f"so {value}")
    else:
        value = scribe.evaluate(problem.facts["expression"].split())
    for _ in range(rechecks(settings.recheck, settings.again, rng)):
        scribe.words.append("wait")
        value = scribe.recheck() if scribe.last else scribe.evaluate(problem.facts["expression"].split())
    return f"<think> {' '.join(scribe.words)}</think> {value}"


class _Scribe:
    """Writes a calculation down step by step, slipping, noticing and redoing as the settings say."""

    def __init__(self, rng: random.Random, settings: Settings) -> None:
        self.rng = rng
        self.settings = settings
        self.words: list[str] = []
        self.last: tuple[int, str, int] | None = None  # the last step
        self.part: Callable[[], int] | None = None  # recalculates the columns that it ends, if any
        self.careful = False  # no slips

    def evaluate(self, tokens: list[str]) -> int:
        """Products first, then the sum from left to right."""
        if len(tokens) == 3 and tokens[1] == "*":
            return self.multiply(int(tokens[0]), int(tokens[2]))
        total = None
        sign = "+"
        position = 0
        while position < len(tokens):
            value = int(tokens[position])
            position += 1
            if position < len(tokens) and tokens[position] == "*":
                value = self.step(value, "*", int(tokens[position + 1]))
                position += 2
            total = value if total is None else self.add(total, sign, value)
            if position < len(tokens):
                sign = tokens[position]
                position += 1
        assert total is not None
        return total

    def step(self, left: int, operator: str, right: int) -> int:
        """Write `left operator right = value vs value verdict`; returns the final value."""
        exact = calculate(left, operator, right)
        assert exact is not None
        for _ in range(3):  # a redo may slip again
            slipped = not self.careful and self.rng.random() < self.settings.slip
            value = self.slip(int(exact), operator, right) if slipped else int(exact)
            check = value
            if not self.careful and self.rng.random() < (
                self.settings.notice if slipped else self.settings.false_alarm
            ):
                check = int(exact) if slipped else self.slip(int(exact), operator, right)
            verdict = "yes" if check == value else "no"
            self.words.append(f"{left} {operator} {right} = {value} vs {check} {verdict}")
            if verdict == "yes":
                break
        self.last, self.part = (left, operator, right), None
        return value

    def recheck(self) -> int:
        """Recalculate the last step, or the columns that it ends, without a slip; returns the value."""
        assert self.last is not None
        self.careful = True
        value = self.part() if self.part else self.step(*self.last)
        self.careful = False
        return value

    def slip(self, exact: int, operator: str, right: int) -> int:
        """A wrong value of the kind people write: one off, ten off, or the neighbour in the table."""
        near = (1, 10, right) if operator == "*" else (1, 2, 10)
        candidates = [value for n in near if n for value in (exact - n, exact + n)]
        return self.rng.choice([value for value in candidates if value >= 0] or candidates)

    def add(self, left: int, sign: str, right: int) -> int:
        """Add or subtract, tens and ones apart where both are needed."""
        if right < 10 or right % 10 == 0 or left < 10:
            return self.step(left, sign, right)
        self.words.append(f"for {left} {sign} {right} :")
        return self.step(self.step(left, sign, right - right % 10), sign, right % 10)

    def multiply(self, left: int, right: int) -> int:
        """Long multiplication: a row for each digit of `right`, then the rows added column by column."""
        total = None
        for place, digit in enumerate(reversed(str(right))):
            row = self.multiply_by_digit(left, int(digit)) * 10**place
            total = row if total is None else self.add_columns(total, row)
        assert total is not None
        return total

    def multiply_by_digit(self, left: int, digit: int) -> int:
        self.words.append(f"for {left} * {digit} :")
        value = self.columns([(int(of_left), "*", digit) for of_left in reversed(str(left))])
        self.part = partial(self.multiply_by_digit, left, digit)
        return value

    def add_columns(self, left: int, right: int) -> int:
        self.words.append(f"for {left} + {right} :")
        width = max(len(str(left)), len(str(right)))
        pairs = zip(reversed(str(left).zfill(width)), reversed(str(right).zfill(width)), strict=True)
        value = self.columns([(int(upper), "+", int(lower)) for upper, lower in pairs])
        self.part = partial(self.add_columns, left, right)
        return value

    def columns(self, calculations: list[tuple[int, str, int]]) -> int:
        """Add the carry into each column's result, and write `so` the whole; with `settled`, `so` after each column."""
        digits, carry = "", 0
        for column, calculation in enumerate(calculations, 1):
            result = self.step(*calculation)
            total = self.step(result, "+", carry) if carry else result
            digits = f"{total % 10}{digits}"
            carry = total // 10
            if self.settings.settled and column < len(calculations):
                self.words.append(f"so {digits}")
        value = int(f"{carry}{digits}")
        self.words.append(f"so {value}")
        return value
