"""Judges of our own, where a scorer of reasoning-gym 0.1.25 must not be given what a model wrote.

What was found by reading all scorers and by trying hostile answers on each:

- `eval` of the answer, so that a completion could run any code: binary_matrix, n_queens, spiral_matrix,
  string_insertion; and within sympy's `parse_expr`: countdown, intermediate_integration, polynomial_multiplication,
  puzzle24, simple_integration. `eval` of what the problem holds: bitwise_arithmetic, number_sorting.
- Answers that take hours or all memory: the five with `parse_expr` (`9**9**9**9`), coin_flip (`1e999999999`),
  rubiks_cube (`R999999999`).
- Wrong answers that score 1.0: any text at all (game_of_life_halting); `nan` (complex_arithmetic); `0`, and any other
  beginning of the right digits (coin_flip); four numbers in range, whatever the puzzle's are, with a value from 24 to
  below 25 (puzzle24); `2.5*4` for the numbers 2, 5 and 4 (countdown); ten right letters of a longer word (figlet_font);
  every number off by one (number_sorting); the right answer with more behind it (letter_jumble, word_sorting); the
  wrong sign, and the first of several numbers (gsm_symbolic); a premise said again (propositional_logic, in nine
  problems of ten).

A judge takes the answer and the entry, and says whether the answer is right. ValueError means that it cannot be read.
A guard stands before a scorer that is good for all but some answers, and says what is wrong with those.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from data.expression import parse_expression

Entry = Mapping[str, Any]
Judge = Callable[[str, Entry], bool]

LARGEST_EXPONENT = 100
MOST_TURNS = 99  # of one side of the cube, written as R99; the scorer writes each out
MAX_NODES = 300  # of an algebraic expression
FUNCTIONS = ("sin", "cos", "tan", "exp", "log", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh")


def same_text(answer: str, entry: Entry) -> bool:
    """The answer to the letter."""
    return answer == entry["answer"].strip()


def same_letters(answer: str, entry: Entry) -> bool:
    """The answer, in capitals or not, with blanks or without."""
    return "".join(answer.split()).casefold() == "".join(entry["answer"].split()).casefold()


def same_words(answer: str, entry: Entry) -> bool:
    """The answer word for word, in capitals or not."""
    return answer.casefold().split() == entry["answer"].casefold().split()


def queens(answer: str, entry: Entry) -> bool:
    """One of the boards that solve the puzzle."""
    return answer in entry["metadata"]["valid_answers"]


def listed_words(answer: str, entry: Entry) -> bool:
    """The words in their order, between commas."""
    return [word.strip() for word in answer.split(",")] == entry["metadata"]["sorted_words"]


def listed_numbers(answer: str, entry: Entry) -> bool:
    """A list in the form of JSON or Python, of numbers or of texts, each exactly equal to the right one."""
    stated, right = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    if not isinstance(stated, list):
        raise ValueError("no list")
    return [number(str(value)) for value in stated] == [number(value) for value in right]


def whole_number(answer: str, entry: Entry) -> bool:
    """A whole number in any base that its prefix tells, such as 0xff."""
    return int(answer, 0) == int(entry["answer"], 0)


def probability(answer: str, entry: Entry) -> bool:
    """A decimal or a fraction within 0.0001, the tolerance of reasoning-gym."""
    top, _, bottom = answer.partition("/")
    divisor = number(bottom) if bottom else Decimal(1)
    if not divisor:
        raise ValueError("divides by zero")
    return abs(Fraction(number(top)) / Fraction(divisor) - Fraction(number(entry["answer"]))) <= Fraction(1, 10_000)


def one_number(answer: str, entry: Entry) -> bool:
    """The only number in the answer, whatever stands around it."""
    found = re.findall(r"-?\d+(?:\.\d+)?", answer.replace(",", ""), re.ASCII)
    if len(found) != 1:
        raise ValueError(f"{len(found)} numbers, not one")
    return number(found[0]) == number(entry["answer"])


def complex_number(answer: str, entry: Entry) -> bool:
    """`a + bi` with exactly the right parts; a part that is 0 may be left out."""
    text = answer.replace(" ", "").replace("j", "i").replace("I", "i").strip("()")
    part = r"[+-]?\d{1,15}(?:\.\d{0,15})?"
    match = re.fullmatch(rf"({part}(?!\d*\.?\d*i))?(?:([+-]?(?:\d{{1,15}}(?:\.\d{{0,15}})?)?)i)?", text, re.ASCII)
    if match is None or not text:
        raise ValueError("no complex number")
    imaginary = match[2]
    if imaginary in ("", "+", "-"):
        imaginary += "1"
    stated = [Decimal(match[1] or 0), Decimal(imaginary or 0)]
    return stated == [Decimal(str(value)) for value in entry["metadata"]["result"]]


def makes(answer: str, entry: Entry) -> bool:
    """An expression of the given numbers, each used once, that makes the target, exactly."""
    expression = parse_expression(answer)
    right = Counter(expression.numbers) == Counter(entry["metadata"]["numbers"])
    return right and expression.value == entry["metadata"].get("target", 24)


def same_polynomial(answer: str, entry: Entry) -> bool:
    """The expanded polynomial, its terms in any order."""
    return bool(algebra(answer) == algebra(entry["answer"]))


def antiderivative(answer: str, entry: Entry) -> bool:
    """A function whose derivative is the integrand; sympy decides, which is why a worker must be killable."""
    import sympy

    variable = sympy.Symbol(entry["metadata"]["variable"])
    derivative = sympy.diff(algebra(answer), variable)
    return bool(sympy.simplify(derivative - algebra(entry["metadata"]["integrand"])) == 0)


JUDGES: dict[str, Judge] = {
    "binary_matrix": same_text,
    "bitwise_arithmetic": whole_number,
    "coin_flip": probability,
    "complex_arithmetic": complex_number,
    "countdown": makes,
    "figlet_font": same_letters,
    "game_of_life_halting": same_letters,
    "gsm_symbolic": one_number,
    "intermediate_integration": antiderivative,
    "letter_jumble": same_words,
    "n_queens": queens,
    "number_sorting": listed_numbers,
    "polynomial_multiplication": same_polynomial,
    "puzzle24": makes,
    "simple_integration": antiderivative,
    "spiral_matrix": same_text,
    "string_insertion": same_text,
    "word_sorting": listed_words,
}


def says_a_premise(answer: str, entry: Entry) -> str:
    """A conclusion has to be drawn; blanks and parentheses make none."""
    plain = {re.sub(r"[\s()]", "", text) for text in entry["metadata"]["premises"]}
    return "says a premise again" if re.sub(r"[\s()]", "", answer) in plain else ""


def turns_without_end(answer: str, entry: Entry) -> str:
    """A side turned more often than anyone would."""
    often = any(len(times) > 4 or int(times) > MOST_TURNS for times in re.findall(r"\d+", answer))
    return f"turns a side more than {MOST_TURNS} times" if often else ""


GUARDS: dict[str, Callable[[str, Entry], str]] = {
    "propositional_logic": says_a_premise,
    "rubiks_cube": turns_without_end,
}


def number(text: str) -> Decimal:
    """A decimal number of bounded size; an exponent of two digits at most."""
    if not re.fullmatch(r"\s*[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?\s*", text, re.ASCII):
        raise ValueError(f"{text[:20]!r} is no number")
    return Decimal(text.strip())


def algebra(text: str) -> Any:
    """A sympy expression of numbers, one-letter variables, + - * / ** and `FUNCTIONS`; nothing is ever evaluated.

    Python's parser gives the syntax tree, and of it no more than these nodes is taken.
    """
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("no expression") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ValueError(f"an expression of more than {MAX_NODES} parts")
    return _built(tree)


def _built(node: ast.expr) -> Any:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return sympy.Rational(str(value)) if isinstance(value, float) else sympy.Integer(value)
        case ast.Name(id=name) if len(name) == 1 and name.isalpha():
            return sympy.Symbol(name)
        case ast.Name(id="pi"):
            return sympy.pi
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return -_built(operand) if isinstance(node.op, ast.USub) else _built(operand)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return getattr(sympy, name)(_built(argument))
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            exponent = _built(right)
            if exponent.is_number and abs(exponent) > LARGEST_EXPONENT:
                raise ValueError(f"an exponent above {LARGEST_EXPONENT}")
            return _built(left) ** exponent
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _built(left) + _built(right)
        case ast.BinOp(op=ast.Sub(), left=left, right=right):
            return _built(left) - _built(right)
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return _built(left) * _built(right)
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _built(left) / _built(right)
    raise ValueError(f"{ast.unparse(node)[:20]!r} is not allowed")
