"""Countdown: use every number once, with + - * /, to make the target.

A thinking text is a search: `try 2 + 6 = 8 , 8 - 6 = 2 vs 14 no or 8 + 6 = 14 vs 14 yes`. `try` starts afresh, `or`
keeps every step of the attempt but the last, `wait` redoes the last step, or with `try` the whole attempt, or hesitates
before another, `vs` compares the result with the target. The answer is the expression: `( 2 + 6 ) + 6`.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from data.doubt import rechecks
from data.expression import ExpressionError, parse_expression
from data.problem import Problem, Verdict
from data.trace import MAX_STEPS, STEP, Attempt, Step, Trace, calculate

NAME = "countdown"
WORDS = ("numbers", "target", "try", "or", "wait", "vs", "yes", "no", "none")
JUDGEMENTS = ("yes", "no")  # the words in which a thinking judges itself
DOUBTS = ("wait",)  # the words that carry a thinking on past its end
PATIENCE = 20_000  # draws without a problem, after which the settings count as impossible
MAX_CHAIN = 50  # steps that are kept of an attempt; six numbers are used up after five

QUESTION = "Make the target from the numbers, each used exactly once, with + - * / and parentheses."
INSTRUCTIONS = (
    f"{QUESTION} Think between <think> and </think>, then write the expression alone. Example: <think> try 2 + 6 = 8 , "
    "8 - 6 = 2 vs 14 no or 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
)


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
        for name in ("guided", "keep", "slip", "notice", "misjudge", "give_up", "hasty", "orderly", "recheck"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"countdown.{name} is {getattr(self, name)}; expected a probability, 0 to 1.")


@dataclass(frozen=True, slots=True)
class Term:
    """A number in play during a search, and the expression that made it. `value` may carry an earlier slip."""

    value: int
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """A combination of two terms: one step of the search."""

    left: Term
    operator: str
    right: Term

    @property
    def value(self) -> int:
        """The exact result; moves are only made where it is a whole number."""
        left, right = self.left.value, self.right.value
        if self.operator == "+":
            return left + right
        if self.operator == "-":
            return left - right
        return left * right if self.operator == "*" else left // right


def generate(rng: random.Random, settings: Settings) -> Problem:
    """Draw numbers, and combine them by random moves to a whole-number target that is none of them.

    Raises ValueError where the settings allow (almost) no such target.
    """
    for _ in range(PATIENCE):
        numbers = sorted(rng.randint(settings.smallest, settings.largest) for _ in range(settings.numbers))
        terms = [Term(number, str(number)) for number in numbers]
        while len(terms) > 1 and (moves := _moves(terms, settings.largest_target)):
            terms = _after(terms, rng.choice(moves))
        target = terms[0].value
        if len(terms) == 1 and 0 < target <= settings.largest_target and target not in numbers:
            shown = " ".join(map(str, numbers))
            return Problem(
                task=NAME,
                prompt=f"numbers {shown} target {target}",
                canonical=f"{NAME} {shown} = {target}",
                facts={"numbers": numbers, "target": target},
            )
    raise ValueError(
        f"countdown: of {PATIENCE:,} draws of {settings.numbers} numbers from {settings.smallest} to "
        f"{settings.largest} none led to a target up to {settings.largest_target}; widen these settings."
    )


def recognise(prompt: str) -> Problem | None:
    """The problem that a person types in the words of `generate`; None for other text, or a problem too large."""
    match = re.fullmatch(r"numbers((?: [1-9]\d?){2,6}) target ([1-9]\d{0,2})", prompt, re.ASCII)
    if match is None:
        return None
    numbers, target = sorted(map(int, match[1].split())), int(match[2])
    shown = " ".join(map(str, numbers))
    return Problem(NAME, prompt, f"{NAME} {shown} = {target}", {"numbers": numbers, "target": target})


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
        doubted = False
        for _ in range(rechecks(settings.recheck, rng)):
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
    if any(not stated.endswith(step) for stated, (step, _) in zip(path, before, strict=False)):
        return last, value
    return " ".join(["try", " , ".join([*(step for step, _ in before), last])]), value


def _worked_out(stated: str) -> tuple[str, int]:
    """The corrected step, and its value."""
    match = STEP.match(stated)
    assert match is not None
    value = calculate(int(match[1]), match[2], int(match[3]))
    assert value is not None
    return f"{match[1]} {match[2]} {match[3]} = {value}", int(value)


@dataclass(frozen=True, slots=True)
class _Try:
    """One attempt of a demonstration: its first word, its steps from the start, and its last term.

    After `or` only the last step is written.
    """

    lead: str
    path: list[str]
    result: Term


def _wander(start: Sequence[Term], target: int, rng: random.Random, settings: Settings) -> Iterator[_Try]:
    """Attempts in random order, none twice; each starts afresh or keeps the steps before the last one."""
    tried: set[str] = set()
    kept: Sequence[Term] | None = None  # the terms before the last move of the last attempt
    before: list[str] = []  # the steps that led to them
    for _ in range(settings.attempts):
        terms, steps = start, list[str]()
        lead = "try"
        if kept is not None and rng.random() < settings.keep and _untried(kept, tried, settings.largest_target):
            lead, terms, steps = "or", kept, before[:]
        guided = lead == "try" and rng.random() < settings.guided
        while len(terms) > 1:
            move = _choose(terms, target, tried, rng, settings, guided)
            if move is None:
                break
            if len(terms) == 2:
                kept, before = terms, steps[:]
            value, stated = _state(move, rng, settings)
            steps.append(stated)
            terms = _after(terms, move, value)
        if len(terms) > 1:  # every continuation was tried already, or leaves the range
            continue
        tried.add(terms[0].text)
        yield _Try(lead, steps, terms[0])


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
    for move in _moves(terms, settings.largest_target):
        value, stated = _state(move, rng, settings)
        after = _after(terms, move, value)
        if len(after) == 1:
            yield [*steps, stated], after[0]
        else:
            yield from _leaves(after, [*steps, stated], rng, settings)


def parse_trace(problem: Problem, thinking: str) -> Trace:
    """Parse a search. An attempt is correct where its steps are, use each number once, and make the target."""
    numbers, target = problem.facts["numbers"], problem.facts["target"]
    trace = Trace()
    chain: list[tuple[Step, Counter[int]]] = []  # the steps that stand, each with the numbers left after it
    text_before = ""
    for match in re.finditer(r"\b(try|or)\b(.*?)(?=\btry\b|\bor\b|$)", thinking, re.DOTALL):
        if match[1] == "or" and chain:
            trace.backtracks.append(match.start())
        chain = chain[:-1] if match[1] == "or" else []
        start, before = match.start(2), None
        doubts = match[1] == "try" and _succeeded(trace) and text_before.rstrip().endswith("wait")
        text_before = match[2]
        for judged in re.finditer(rf"vs {target} (yes|no)\b", thinking[: match.end()][start:]):
            end = match.start(2) + judged.end()
            before = _follow(thinking[start:end], start, chain, trace, numbers, before)
            steps = tuple(step for step, _ in chain)
            right = all(step.correct and step.grounded for step in steps)
            reaches = right and _at_hand(chain, numbers) == Counter([target])
            attempt = Attempt(reaches, match.start(), end, judged[1] == "yes", steps)
            if (doubts or start > match.start(2)) and _same(trace.attempts[-1].steps, steps):
                trace.attempts.pop()  # a confirming recheck is no attempt of its own; its verdict counts
            trace.attempts.append(attempt)
            trace.conclusion = _expression(steps) if judged[1] == "yes" else "none"
            start = end
        _follow(thinking[start : match.end()], start, chain, trace, numbers, before)
    return trace


def _moves(terms: Sequence[Term], largest: int) -> list[Move]:
    """Every whole-number, non-negative combination of two of the terms that stays within `largest`."""
    moves = []
    for i, first in enumerate(terms):
        for second in terms[i + 1 :]:
            left, right = (first, second) if first.value >= second.value else (second, first)
            moves += [Move(left, "+", right), Move(left, "*", right), Move(left, "-", right)]
            if right.value and left.value % right.value == 0:
                moves.append(Move(left, "/", right))
    return [move for move in moves if 0 <= move.value <= largest]


def _without(terms: Sequence[Term], move: Move) -> list[Term]:
    rest = list(terms)
    rest.remove(move.left)
    rest.remove(move.right)
    return rest


def _after(terms: Sequence[Term], move: Move, value: int | None = None) -> list[Term]:
    """The terms after a move, with the value that the search states, right or wrong."""
    text = f"( {move.left.text} {move.operator} {move.right.text} )"
    return [*_without(terms, move), Term(move.value if value is None else value, text)]


def _untried(terms: Sequence[Term], tried: set[str], largest: int) -> list[Move]:
    """The last moves from two terms that were not made before."""
    return [move for move in _moves(terms, largest) if _after(terms, move)[0].text not in tried]


def _choose(
    terms: Sequence[Term], target: int, tried: set[str], rng: random.Random, settings: Settings, guided: bool
) -> Move | None:
    """The next move of a search: towards a solution where it is guided, else any untried move."""
    moves = (
        _untried(terms, tried, settings.largest_target) if len(terms) == 2 else _moves(terms, settings.largest_target)
    )
    if guided and (leading := [move for move in moves if _solvable(_after(terms, move), target)]):
        return rng.choice(leading)
    return rng.choice(moves) if moves else None


def _solvable(terms: Sequence[Term], target: int) -> bool:
    if len(terms) == 1:
        return terms[0].value == target
    return any(_solvable(_after(terms, move), target) for move in _moves(terms, 999))


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


def _succeeded(trace: Trace) -> bool:
    """Whether the last attempt was judged to reach the target: only then does `wait try` look at it again."""
    return bool(trace.attempts) and trace.attempts[-1].judged_correct is True


def _same(steps: Sequence[Step], others: Sequence[Step]) -> bool:
    """Whether two attempts state the same calculations with the same values."""
    return [step.stated for step in steps] == [step.stated for step in others]


def _follow(
    text: str,
    offset: int,
    chain: list[tuple[Step, Counter[int]]],
    trace: Trace,
    numbers: Sequence[int],
    before: Step | None = None,
) -> Step | None:
    """Read the steps of a part of an attempt into `trace`, and the valid ones into `chain`; returns the last one.

    `before` is the last step of the attempt's part before. A step behind `wait` replaces the one before it. It is a
    redo where the calculation is the same; otherwise the search changed its mind.
    """
    for match in islice(STEP.finditer(text), MAX_STEPS - len(trace.steps)):
        left, operator, right, value = int(match[1]), match[2], int(match[3]), int(match[4])
        start, end = offset + match.start(), offset + match.end()
        redoes = False
        if before is not None and text[max(0, before.end - offset) : match.start()].rstrip().endswith("wait"):
            redoes = (before.left, before.operator, before.right) == (left, operator, right)
            trace.backtracks.append(start)
            chain.pop()
        at_hand = _at_hand(chain, numbers)
        grounded = Counter([left, right]) <= at_hand
        before = Step(left, operator, right, value, start, end, redoes, grounded=grounded)
        trace.steps.append(before)
        if len(chain) < MAX_CHAIN:
            chain.append((before, at_hand - Counter([left, right]) + Counter([value])))
    return before


def _at_hand(chain: Sequence[tuple[Step, Counter[int]]], numbers: Sequence[int]) -> Counter[int]:
    """The remaining numbers after some steps, at their stated values."""
    return chain[-1][1] if chain else Counter(numbers)


def _expression(chain: Sequence[Step]) -> str | None:
    """The expression of the last step, written as an answer; None for no step."""
    made: dict[int, str] = {}
    text = None
    for step in chain:
        text = f"{made.pop(step.left, step.left)} {step.operator} {made.pop(step.right, step.right)}"
        made[step.value] = f"( {text} )"
    return text
