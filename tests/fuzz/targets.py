"""What is fuzzed: parsers and verifiers of whatever a model may write, each held to what must be true of any text.

A target takes one text and raises AssertionError, or whatever escapes, where something is wrong. The verifiers are
held against oracles that share no code with them.
"""

import ast
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from data.expression import MAX_CHARACTERS, MAX_DEPTH, MAX_DIGITS
from data.mathematics import forms
from data.mathematics.extract import MAX_FINAL
from data.mathematics.notation import tidy
from data.mathematics.numbers.plain import exact, in_base
from data.mathematics.units.units import take_unit
from data.mixture import judge
from data.problem import Problem
from data.response import BLANKS, CLOSE, MAX_ANSWER_CHARACTERS, OPEN, parse_response
from data.tasks import TASKS, get_task
from data.trace import Trace
from eval.measures.behaviour import events
from eval.measures.lexical import signs
from eval.probes.monitor import flags

COUNTDOWN = Problem(
    "countdown", "numbers 2 6 6 target 14", "countdown 2 6 6 = 14", {"numbers": [2, 6, 6], "target": 14}
)
ARITHMETIC = Problem("arithmetic", "compute 36 * 4", "arithmetic 4 36 = 144", {"expression": "36 * 4", "target": 144})
UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"}  # Unicode's categories
MATHS = [
    Problem("math", "?", f"math {gold}", {"answer": gold}) for gold in ("144", "\\frac{1}{2}", "(2, 3]", "x^2 + 1")
]
PROBLEMS = {"countdown": COUNTDOWN, "arithmetic": ARITHMETIC}


def response(text: str) -> None:
    """The form is right exactly where a plain regular expression finds it so."""
    for opened in (False, True):
        parsed = parse_response(text, opened)
        begun = text if opened else text.lstrip().removeprefix(OPEN)
        parts = begun.split(CLOSE)
        right = (
            (opened or text.lstrip().startswith(OPEN))
            and len(parts) == 2
            and OPEN not in begun
            and any(unicodedata.category(sign) not in UNSEEN and sign not in BLANKS for sign in parts[0])
            and 0 < len(parts[1].strip()) <= MAX_ANSWER_CHARACTERS
        )
        assert right == (parsed.fault is None), parsed.fault
        if right:
            assert (parsed.thinking, parsed.answer) == (parts[0], parts[1].strip())


def countdown(text: str) -> None:
    """An answer is right where Python's own syntax tree of it is, within our bounds; and no judging fails."""
    verdict = TASKS["countdown"].verify(COUNTDOWN, text)
    value, numbers = python_says(text)
    right = value == 14 and Counter(numbers) == Counter([2, 6, 6])
    assert verdict.correct == right, verdict
    assert verdict.format == (value is not None or text == "none"), verdict


def arithmetic(text: str) -> None:
    """Only the number itself, as Python would print it, is right."""
    verdict = TASKS["arithmetic"].verify(ARITHMETIC, text)
    assert verdict.correct == (text == "144")
    assert verdict.format or not verdict.correct


def math(text: str) -> None:
    """Judging mathematics never fails, whatever becomes of the worker, and a worker that failed scores nothing."""
    forms_of = (forms.words, forms.ratio, forms.matrix, forms.parts, forms.bracketed, forms.named, forms.braced)
    verdict = get_task("math").verify(MATHS[len(text) % len(MATHS)], text)
    assert verdict.format or not verdict.correct
    assert not (verdict.correct and verdict.error)
    written = tidy(text[:MAX_FINAL])
    for read in (exact, in_base, take_unit, *forms_of):
        read(written)


def completion(text: str) -> None:
    """A whole completion: judging never fails, and what is right has its form right and its answer after the tag."""
    for problem in PROBLEMS.values():
        for opened in (False, True):
            parsed, verdict = judge(problem, text, thinking_opened=opened)
            assert verdict.error is None, verdict.error
            assert verdict.format or not verdict.correct
            if verdict.correct:
                assert parsed.fault is None and parsed.answer in text[text.index(CLOSE) :]


def trace(text: str) -> None:
    """What is read off a thinking lies in it, and the detectors read on."""
    for problem in PROBLEMS.values():
        found: Trace = TASKS[problem.task].parse_trace(problem, text)
        for piece in (*found.steps, *found.attempts, *found.goals):
            assert 0 <= piece.start < piece.end <= len(text)
        assert all(0 <= place < len(text) for place in found.backtracks)
        assert found.repairs <= found.slips <= len(found.steps)
        assert [step.start for step in found.steps] == sorted(step.start for step in found.steps)
        assert found.conclusion is None or TASKS[problem.task].verify(problem, found.conclusion).error is None


def detectors(text: str) -> None:
    """The measures of behaviour and the monitor take any text."""
    signs(text)
    for problem in PROBLEMS.values():
        flags(problem, text)
        events(TASKS[problem.task].parse_trace(problem, text))


def python_says(text: str) -> tuple[Fraction | None, list[int]]:
    """Value and numbers of an expression by Python's parser, never its interpreter; None where it is outside ours."""
    foreign = rf"[^-+*/() \t0-9]|\*\*|//|\b0[0-9]|[0-9]{{{MAX_DIGITS + 1}}}"
    if re.search(foreign, text) or len(text) > MAX_CHARACTERS or depth(text) > MAX_DEPTH:
        return None, []
    numbers: list[int] = []

    def value(node: ast.AST) -> Fraction:
        match node:
            case ast.Constant(value=int(number)):
                numbers.append(number)
                return Fraction(number)
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
            case ast.BinOp(left, ast.Sub(), right):
                return value(left) - value(right)
            case ast.BinOp(left, ast.Mult(), right):
                return value(left) * value(right)
            case ast.BinOp(left, ast.Div(), right):
                return value(left) / value(right)
        raise SyntaxError(f"{node} is not in our grammar")

    try:
        return value(ast.parse(text.strip(" \t"), mode="eval").body), numbers
    except (SyntaxError, ZeroDivisionError):
        return None, []


def depth(text: str) -> int:
    """How deep parentheses are nested in it."""
    deepest = level = 0
    for character in text:
        level += (character == "(") - (character == ")")
        deepest = max(deepest, level)
    return deepest


TARGETS: dict[str, Callable[[str], None]] = {
    target.__name__: target for target in (response, countdown, arithmetic, math, completion, trace, detectors)
}
