"""Arithmetic that takes several steps: long multiplication, and chains of mixed operations.

A thinking text breaks it down: `for 47 + 15 : 47 + 10 = 57 vs 57 yes 57 + 5 = 62 vs 62 yes`. A long multiplication goes
digit by digit with its carries, and may state the digits that are settled: `for 36 * 4 : 6 * 4 = 24 vs 24 yes so 4
3 * 4 = 12 vs 12 yes 12 + 2 = 14 vs 14 yes so 144`. A hasty one states the value at once: `so 62`. After each step the
value is calculated a second time, `vs 57`: `yes` where both agree, `no` where they differ, and then the step is redone.
A slip that is not corrected costs the answer. `wait` redoes the last step, or the columns that it ends, or restarts the
whole.
"""

import random
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

from data.doubt import rechecks
from data.expression import ExpressionError, parse_expression
from data.problem import Problem, Verdict
from data.trace import MAX_STEPS, STEP, Attempt, Step, Subgoal, Trace, calculate

NAME = "arithmetic"
WORDS = ("compute", "for", "so", "vs", "yes", "no", "wait")
JUDGEMENTS = ("yes", "no")  # the words in which a thinking judges itself
DOUBTS = ("wait",)  # the words that carry a thinking on past its end

QUESTION = "Compute the value."
INSTRUCTIONS = (
    f"{QUESTION} Think between <think> and </think> in small steps; check each by working it out again, redo it "
    "where the two differ, then write the number alone. Example: <think> for 36 * 4 : 6 * 4 = 24 vs 24 yes "
    "3 * 4 = 13 vs 12 no 3 * 4 = 12 vs 12 yes 12 + 2 = 14 vs 14 yes so 144</think> 144"
)


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

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        for name, low, high in (("digits", 2, 6), ("factor_digits", 1, 4), ("terms", 3, 8), ("largest", 20, 99)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"arithmetic.{name} is {getattr(self, name)}; expected {low} to {high}.")
        for name in ("products", "slip", "notice", "false_alarm", "hasty", "recheck"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"arithmetic.{name} is {getattr(self, name)}; expected a probability, 0 to 1.")


def generate(rng: random.Random, settings: Settings) -> Problem:
    """Draw a long multiplication or a mixed chain."""
    if rng.random() < settings.products:
        left = _number(rng, rng.randint(2, settings.digits))
        right = _number(rng, rng.randint(1, settings.factor_digits))
        return _problem(f"{left} * {right}", left * right)
    while True:
        text, value = _chain(rng, settings)
        if 0 <= value <= settings.largest:
            return _problem(text, value)


def recognise(prompt: str) -> Problem | None:
    """The problem that a person types in the words of `generate`; None for other text, or without a whole value."""
    match = re.fullmatch(r"compute (\d{1,6}(?: [-+*/] \d{1,6}){1,7})", prompt, re.ASCII)
    try:
        value = parse_expression(match[1]).value if match else None
    except ExpressionError:  # a division by zero
        return None
    return _problem(match[1], int(value)) if match and value is not None and value.denominator == 1 else None


def verify(problem: Problem, answer: str) -> Verdict:
    """Judge a whole number in ASCII digits."""
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,17}", answer):
        return Verdict(correct=False, format=False, reason="no whole number")
    if int(answer) != problem.facts["target"]:
        return Verdict(correct=False, format=True, reason=f"{answer}, not {problem.facts['target']}")
    return Verdict(correct=True, format=True, reason="correct")


def demonstrate(problem: Problem, rng: random.Random, settings: Settings) -> str:
    """Write one imperfect calculation as a completion. A slip that goes unnoticed is carried to the answer."""
    scribe = _Scribe(rng, settings)
    if settings.hasty > 0 and rng.random() < settings.hasty:
        value = problem.facts["target"]
        scribe.words.append(f"so {value}")
    else:
        value = scribe.evaluate(problem.facts["expression"].split())
    for _ in range(rechecks(settings.recheck, rng)):
        scribe.words.append("wait")
        value = scribe.recheck() if scribe.last else scribe.evaluate(problem.facts["expression"].split())
    return f"<think> {' '.join(scribe.words)}</think> {value}"


def parse_trace(problem: Problem, thinking: str) -> Trace:
    """Parse a calculation.

    The first attempt is every step as it was first written: correct where no step slipped and the last one leads to the
    target. Each redone step makes a further attempt of the steps after it. `wait` restarts the whole, unless the last
    step follows it again. A value without any step is an attempt too. A pass that only confirms the end of the pass
    before it is no attempt.
    """
    trace = Trace()
    matches = list(islice(STEP.finditer(thinking), MAX_STEPS))
    sources = _Sources(problem.facts["expression"], thinking)
    for i, match in enumerate(matches):
        until = matches[i + 1].start() if i + 1 < len(matches) else len(thinking)
        judged = re.match(r" ?(?:vs -?\d{1,18} )?(yes|no)\b", thinking[match.end() : until], re.ASCII)
        left, operator, right, value = int(match[1]), match[2], int(match[3]), int(match[4])
        before = trace.steps[-1] if trace.steps else None
        redoes = False
        if before is not None and (before.left, before.operator, before.right) == (left, operator, right):
            between = thinking[before.end : match.start()]
            waits = between.count("wait")  # two restarts in between
            redoes = before.judged_wrong is True if not waits else waits == 1 and between.rstrip().endswith("wait")
        wrong = None if judged is None else judged[1] == "no"
        grounded = {left, right} <= sources.before(match.start())
        trace.steps.append(Step(left, operator, right, value, match.start(), match.end(), redoes, wrong, grounded))
        sources.add(value)
    trace.goals = _goals(thinking, trace.steps)
    trace.backtracks = [step.start for step in trace.steps if step.redoes]
    last_pass: list[Step] = []
    for start, end in _passes(thinking, {step.start for step in trace.steps if step.redoes}):
        steps = [step for step in trace.steps if start <= step.start < end]
        result = _concluded(thinking[start:end], steps)
        if result is None:
            continue
        if start:
            trace.backtracks.append(start)
        confirms = str(result) == trace.conclusion and bool(steps) and _ends_in(last_pass, steps)
        last_pass, trace.conclusion = steps, str(result)
        if confirms:
            continue
        trace.attempts += _attempts(steps, start, end, result == problem.facts["target"])
    trace.backtracks.sort()
    return trace


def _passes(thinking: str, redone: Container[int]) -> list[tuple[int, int]]:
    """The spans that calculate the whole: up to the first `wait` that no redone step follows, and so on."""
    waits = islice(re.finditer(r"\bwait\b(?=(\s*))", thinking), MAX_STEPS)
    return list(pairwise([0, *(wait.end() for wait in waits if wait.end(1) not in redone), len(thinking)]))


def _ends_in(steps: list[Step], end: list[Step]) -> bool:
    """Whether `steps` end with the calculations of `end`, at the same values."""
    return [step.stated for step in steps[-len(end) :]] == [step.stated for step in end]


def _attempts(steps: list[Step], start: int, end: int, leads_to_the_target: bool) -> list[Attempt]:
    """The attempts of one pass: every step as it was first written, and one more for each step redone otherwise.

    A recheck that confirms a step is no attempt of its own.
    """
    if not steps:  # the value is stated at once
        return [Attempt(leads_to_the_target, start, end)]
    attempts = []
    standing = [step for step in steps if not step.redoes]  # each redo replaces the step that it redoes
    wrong = sum(not step.correct for step in standing)
    place = -1  # in `standing`, of the step before
    for number, step in enumerate(steps):
        if not step.redoes:
            place += 1
        elif step.value == standing[place].value and standing[place].judged_wrong is not True:
            continue
        else:
            wrong += standing[place].correct - step.correct
            standing[place] = step
        if step.redoes or not number:
            right = leads_to_the_target and not wrong
            attempts.append(Attempt(right, step.start, end, steps=tuple(standing)))
    return attempts


class _Sources:
    """The numbers available to a step: the problem's, those stated before it, and the tens and digits of all of them.

    The value of a check, `vs 57`, counts as stated, and so does a final value, `so 144`.
    """

    def __init__(self, expression: str, thinking: str) -> None:
        self.numbers = {0}  # fills up the shorter number of a column addition
        statements = re.finditer(r"\b(?:so|vs) (\d{1,18})\b", thinking, re.ASCII)
        self.stated = deque((match.start(), int(match[1])) for match in statements)
        for number in re.findall(r"\d+", expression):
            self.add(int(number))

    def before(self, place: int) -> set[int]:
        """The numbers available at character `place`; call it in the order of the steps."""
        while self.stated and self.stated[0][0] < place:
            self.add(self.stated.popleft()[1])
        return self.numbers

    def add(self, number: int) -> None:
        """Add a number, with its tens and digits."""
        self.numbers |= {number, number // 10 * 10, *map(int, str(abs(number)))}


def _goals(thinking: str, steps: list[Step]) -> list[Subgoal]:
    """The subgoals `for 48 - 16 :`; one is met where its value is stated before the next begins."""
    heads = list(islice(re.finditer(r"\bfor (\d{1,18}) ([-+*/]) (\d{1,18}) :", thinking, re.ASCII), MAX_STEPS))
    starts = [step.start for step in steps]
    goals = []
    for i, head in enumerate(heads):
        until = heads[i + 1].start() if i + 1 < len(heads) else len(thinking)
        stated = [step.value for step in steps[bisect_left(starts, head.end()) : bisect_left(starts, until)]]
        stated += [int(so) for so in re.findall(r"\bso (\d{1,18})\b", thinking[head.end() : until], re.ASCII)]
        goals.append(Subgoal(head.start(), head.end(), calculate(int(head[1]), head[2], int(head[3])) in stated))
    return goals


def _concluded(thinking: str, steps: list[Step]) -> int | None:
    """The final value of a pass: the number after a closing `so`, else the last step's; None without either."""
    so = re.search(r"\bso (-?\d{1,18})(?:\s+wait)?\s*$", thinking)
    if so:
        return int(so[1])
    return steps[-1].value if steps else None


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(max(2, 10 ** (digits - 1)), 10**digits - 1)


def _problem(expression: str, value: int) -> Problem:
    numbers = " ".join(sorted(re.findall(r"\d+", expression), key=int))
    return Problem(
        task=NAME,
        prompt=f"compute {expression}",
        canonical=f"{NAME} {numbers} = {value}",
        facts={"expression": expression, "target": value},
    )


def _chain(rng: random.Random, settings: Settings) -> tuple[str, int]:
    """A sum of products and numbers whose value, and each partial sum's, is checked by the caller and here."""
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
            return "", -1
        words += [sign, text] if position else [text]
    return " ".join(words), total


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
