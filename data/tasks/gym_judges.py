"""Judges of our own, for scorers of reasoning-gym 0.1.25 that are unsafe with a model's text.

Reading all scorers, and trying hostile answers on each, showed:

- `eval` of the answer, so that a completion could run any code: binary_matrix, n_queens, spiral_matrix,
  string_insertion; and within sympy's `parse_expr`: countdown, intermediate_integration, polynomial_multiplication,
  puzzle24, simple_integration. `eval` of what the problem holds: bitwise_arithmetic, number_sorting.
- Answers that take hours or all memory: the five with `parse_expr` (`9**9**9**9`), coin_flip (`1e999999999`),
  rubiks_cube (`R999999999`).
- Wrong answers that score 1.0: any text at all (game_of_life_halting); `nan` (complex_arithmetic); `0`, and any other
  beginning of the right digits (coin_flip); four numbers in range, whatever the puzzle's are, with a value from 24 to
  below 25 (puzzle24); `2.5*4` for the numbers 2, 5 and 4 (countdown); ten right letters of a longer word (figlet_font);
  every number off by one (number_sorting); the right answer with more behind it (letter_jumble, word_sorting); the
  wrong sign, and the first of several numbers (gsm_symbolic).

A judge takes the answer and the entry, and returns whether the answer is right. It raises ValueError for an answer that
it cannot read. For scorers that are safe but give 1 to something wrong see `data.tasks.gym_forms`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from data.expression import parse_expression
from data.tasks.gym_algebra import antiderivative, same_polynomial
from data.tasks.gym_numbers import number, rounds

Entry = Mapping[str, Any]
Judge = Callable[[str, Entry], bool]

STATED_DIGITS = 10  # reasoning-gym rounds a probability to so many
LEAD = r"(?:(?:so|thus|therefore|hence),? )?(?:it|that|this|the (?:final )?(?:answer|result|total))(?: is|:| =) "


def same_text(answer: str, entry: Entry) -> bool:
    """The answer to the letter."""
    return answer == entry["answer"].strip()


def same_letters(answer: str, entry: Entry) -> bool:
    """The answer; case and blanks do not matter."""
    return "".join(answer.split()).casefold() == "".join(entry["answer"].split()).casefold()


def same_words(answer: str, entry: Entry) -> bool:
    """The answer word for word; case does not matter."""
    return answer.casefold().split() == entry["answer"].casefold().split()


def queens(answer: str, entry: Entry) -> bool:
    """One of the boards that solve the puzzle."""
    return answer in entry["metadata"]["valid_answers"]


def listed_words(answer: str, entry: Entry) -> bool:
    """The words in their order, between commas."""
    return [word.strip() for word in answer.split(",")] == entry["metadata"]["sorted_words"]


def listed_numbers(answer: str, entry: Entry) -> bool:
    """A list in JSON or Python, of numbers or of texts, each exactly equal to the right one."""
    numbers, right = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    if not isinstance(numbers, list):
        raise ValueError("no list")
    return [number(str(value)) for value in numbers] == [number(value) for value in right]


def whole_number(answer: str, entry: Entry) -> bool:
    """A whole number in any base that its prefix names, such as 0xff."""
    return int(answer, 0) == int(entry["answer"], 0)


def probability(answer: str, entry: Entry) -> bool:
    """A decimal rounded to four places or more, or a fraction that rounds to the stated digits."""
    top, slash, bottom = answer.partition("/")
    if not slash:
        if rounds(answer, Fraction(number(entry["answer"])), places=4):
            return True
        rounded = len(Decimal(entry["answer"]).as_tuple().digits) >= STATED_DIGITS
        return rounded and rounds(entry["answer"], Fraction(number(answer)), places=0)
    if not number(bottom):
        raise ValueError("divides by zero")
    return rounds(entry["answer"], Fraction(number(top)) / Fraction(number(bottom)), places=0)


def one_number(answer: str, entry: Entry) -> bool:
    """The number alone, or in a plain sentence: `$65`, `1,200.`, `It is 65.`; not `minus 65`, `not 65`, `65 or 66`."""
    match = re.fullmatch(rf"(?:{LEAD})?(-?)\$?(-?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?)\.?", answer, re.ASCII | re.I)
    if match is None:
        raise ValueError("not a number alone")
    return number(match[1] + match[2].replace(",", "")) == number(entry["answer"])


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
    parts = [Decimal(match[1] or 0), Decimal(imaginary or 0)]
    return parts == [Decimal(str(value)) for value in entry["metadata"]["result"]]


def makes(answer: str, entry: Entry) -> bool:
    """An expression of the problem's numbers, each used once, that makes exactly the target."""
    expression = parse_expression(answer)
    right = Counter(expression.numbers) == Counter(entry["metadata"]["numbers"])
    return right and expression.value == entry["metadata"].get("target", 24)


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
