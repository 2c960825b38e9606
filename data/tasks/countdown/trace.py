"""The parser of countdown's thinkings: steps and attempts, each marked right or wrong."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from data.problem import Problem
from data.trace import MAX_STEPS, STEP, Attempt, Step, Trace

MAX_CHAIN = 50  # steps that are kept of an attempt; six numbers are used up after five


def parse_trace(problem: Problem, thinking: str) -> Trace:
    """Parse a search. An attempt is correct where its steps are, use each number once, and make the target."""
    numbers, target = problem.facts["numbers"], problem.facts["target"]
    trace = Trace()
    chain: list[tuple[Step, Counter[int]]] = []  # the steps that stand, each with the numbers left after it
    for match in re.finditer(r"\b(try|or)\b(.*?)(?=\btry\b|\bor\b|$)", thinking, re.DOTALL):
        if match[1] == "or" and chain:
            trace.backtracks.append(match.start())
        chain = chain[:-1] if match[1] == "or" else []
        start, before = match.start(2), None
        confirms = match[1] == "try" and _succeeded(trace)
        for judged in re.finditer(rf"vs {target} (yes|no)\b", thinking[: match.end()][start:]):
            end = match.start(2) + judged.end()
            before = _follow(thinking[start:end], start, chain, trace, numbers, before)
            steps = tuple(step for step, _ in chain)
            right = all(step.correct and step.grounded for step in steps)
            reaches = right and _at_hand(chain, numbers) == Counter([target])
            attempt = Attempt(reaches, match.start(), end, judged[1] == "yes", steps)
            if (confirms or start > match.start(2)) and _same(trace.attempts[-1].steps, steps):
                trace.attempts.pop()  # a confirming recheck is no attempt of its own; its verdict counts
            trace.attempts.append(attempt)
            trace.conclusion = _expression(steps) if judged[1] == "yes" else "none"
            start = end
        _follow(thinking[start : match.end()], start, chain, trace, numbers, before)
    return trace


def _succeeded(trace: Trace) -> bool:
    """Whether the last attempt was judged to reach the target: only then does a fresh `try` confirm it."""
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
    expressions: dict[int, str] = {}
    text = None
    for step in chain:
        text = f"{expressions.pop(step.left, step.left)} {step.operator} {expressions.pop(step.right, step.right)}"
        expressions[step.value] = f"( {text} )"
    return text
