"""A thinking text parsed into steps and attempts, each marked right or wrong by exact arithmetic.

Tasks parse their own grammar into these; the evaluation and the report read nothing else.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

MAX_DIGITS = 18
MAX_STEPS = 5_000  # read of one thinking; the rest of one without end is ignored
STEP = re.compile(
    rf"((?:(?<!\S)-)?(?<!\d)\d{{1,{MAX_DIGITS}}}) ?([-+*/]) ?(\d{{1,{MAX_DIGITS}}}) ?= ?(-?\d{{1,{MAX_DIGITS}}})(?!\d)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One stated calculation, `left operator right = value`, at characters `start` to `end` of the thinking.

    `redoes` says that the step repeats the one before it because that was judged wrong. `judged_wrong` is the
    model's own judgement where it gives one. `grounded` says that both operands were at hand: given by the problem, or
    made by a step before.
    """

    left: int
    operator: str
    right: int
    value: int
    start: int
    end: int
    redoes: bool = False
    judged_wrong: bool | None = None
    grounded: bool = True

    @property
    def stated(self) -> tuple[int, str, int, int]:
        """The calculation and its value as written, without its place."""
        return self.left, self.operator, self.right, self.value

    @property
    def correct(self) -> bool:
        """Whether the stated value is what the calculation gives."""
        return calculate(self.left, self.operator, self.right) == self.value


@dataclass(frozen=True, slots=True)
class Attempt:
    """One complete try at the problem, at characters `start` to `end` of the thinking.

    `judged_correct` is the model's own verdict on it, or None where it gives none. `steps` are those within it:
    kept from the attempt before, or stated and not taken back.
    """

    correct: bool
    start: int
    end: int
    judged_correct: bool | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Subgoal:
    """A part that the thinking set itself to solve apart, at characters `start` to `end`.

    `met` says that its exact value was stated before the thinking turned to the next part.
    """

    start: int
    end: int
    met: bool


@dataclass(slots=True)
class Trace:
    """The steps and attempts of a thinking text.

    `backtracks` are the characters at which it went back to an earlier state of its work. `conclusion` is the answer
    that it arrived at, in the form in which the task takes answers; None where it arrived at none.
    """

    attempts: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    goals: list[Subgoal] = field(default_factory=list)
    backtracks: list[int] = field(default_factory=list)
    conclusion: str | None = None

    @property
    def subgoals(self) -> int:
        """The number of parts that it set out to solve separately."""
        return len(self.goals)

    @property
    def first_correct(self) -> bool | None:
        """Whether the first attempt was right; None where the thinking holds no attempt."""
        return self.attempts[0].correct if self.attempts else None

    @property
    def slips(self) -> int:
        """The number of steps that state a wrong value."""
        return sum(not step.correct for step in self.steps)

    @property
    def repairs(self) -> int:
        """The number of slips corrected at once: the next step redoes the slip and is correct."""
        return sum(
            not slip.correct and redo.redoes and redo.correct
            for slip, redo in zip(self.steps, self.steps[1:], strict=False)
        )


def calculate(left: int, operator: str, right: int) -> Fraction | None:
    """The exact value of `left operator right`, or None where it divides by zero."""
    if operator == "+":
        return Fraction(left + right)
    if operator == "-":
        return Fraction(left - right)
    if operator == "*":
        return Fraction(left * right)
    return Fraction(left, right) if right else None
