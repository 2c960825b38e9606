"""The form that an answer must have where a scorer of reasoning-gym gives it 1: a check can only refuse.

The scorers ignore what they do not expect: text around a grid or a list of moves, a wrong unit, a number within a
tolerance. So a score of 1 counts only where the answer is the stated one, word for word (`as_stated`). In tasks with
several right answers it counts where the answer is in the task's own form and nothing else.

`bounds` comes before any scorer or judge: an answer far longer than the right one is not read.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any

from data.tasks.gym_judges import Entry
from data.tasks.gym_logic import draws_nothing, no_formula
from data.tasks.gym_moves import box_moves, car_moves, jug_moves, push_moves, turns
from data.tasks.gym_numbers import number, rounds

Check = Callable[[str, Entry], str]

LONGER, SLACK = 4, 200  # an answer's most characters: this many times the stated answer's, plus so many
UNSTATED = 6000  # characters, where no right answer is stated
NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][+-]?\d{1,2})?"


def bounds(answer: str, entry: Entry) -> str:
    """Why the answer is too long to be read, or ""."""
    gold = entry["answer"]
    if gold is None:
        return f"has more than {UNSTATED} characters" if len(answer) > UNSTATED else ""
    if len(answer) <= LONGER * len(gold.strip()) + SLACK:
        return ""
    return f"has {len(answer)} characters, where the right answer has {len(gold.strip())}"


def as_stated(answer: str, entry: Entry) -> str:
    """The stated answer word for word, in capitals or not."""
    same = answer.casefold().split() == entry["answer"].casefold().split()
    return "" if same else "is not the right answer to the letter"


def as_scored(answer: str, entry: Entry) -> str:
    """Accept any form: the scorer is exact, and several answers are right."""
    return ""


def written(pattern: str, form: str) -> Check:
    """A check that the whole answer matches a form; the refusal says that it is not `name`."""
    expression = re.compile(pattern, re.ASCII)
    return lambda answer, entry: "" if expression.fullmatch(answer) else f"is not {form} alone"


def same_number(answer: str, entry: Entry) -> str:
    """One number, exactly the stated one; commas between thousands, a plus and zeros at either end are allowed."""
    if not re.fullmatch(NUMBER, answer, re.ASCII):
        return "is not a number alone"
    return "" if _exact(answer) == _exact(entry["answer"]) else f"is not exactly {entry['answer']}"


def stated_or_same_number(answer: str, entry: Entry) -> str:
    """A word as stated, or a number, whichever the problem asks for."""
    return same_number(answer, entry) if re.fullmatch(NUMBER, entry["answer"], re.ASCII) else as_stated(answer, entry)


def picked_number(answer: str, entry: Entry) -> str:
    """A number as stated, or rounded to three or more places: the candidates differ in the third."""
    if not re.fullmatch(NUMBER, answer, re.ASCII):
        return "is not a number alone"
    plain = answer.replace(",", "")
    return "" if rounds(plain, _exact(entry["answer"]), places=3) else f"is not {entry['answer']}"


def three_figures(answer: str, entry: Entry) -> str:
    """The power rounded to three significant figures, or to more."""
    exact, value = _exact(entry["answer"]), number(answer)
    unit = Fraction(10) ** (Decimal(entry["answer"]).adjusted() - 2)
    three = abs(Fraction(value) - exact) <= unit / 2 and Fraction(value) % unit == 0
    return "" if three or rounds(answer, exact, figures=3) else "is not that power rounded to three figures or more"


def number_list(answer: str, entry: Entry) -> str:
    """The stated numbers between commas, in any order, each once."""
    numbers, right = (sorted(number(part) for part in text.split(",")) for text in (answer, entry["answer"]))
    return "" if numbers == right else "is not exactly the stated numbers"


def number_grid(answer: str, entry: Entry) -> str:
    """The stated matrix, each cell exact or rounded to two or more places."""
    grid, right = ([line.split() for line in text.strip().splitlines()] for text in (answer, entry["answer"]))
    if [len(row) for row in grid] != [len(row) for row in right]:
        return "is not a matrix of the right size alone"
    cells = zip(chain.from_iterable(grid), chain.from_iterable(right), strict=True)
    wrong = [cell for cell, exact in cells if not rounds(cell, _exact(exact), places=2)]
    return f"has {wrong[0]}, which is not correct to 2 places" if wrong else ""


def geometry(answer: str, entry: Entry) -> str:
    """An angle to two places, a radius as stated, or a point of two coordinates to three places."""
    facts = entry["metadata"]
    if facts["task_type"] == "incircle_radius":
        return as_stated(answer, entry)
    if facts["task_type"] == "angle_measure":
        angle = re.fullmatch(r"(-?\d{1,4}(?:\.\d{1,12})?)\s*°?", answer)
        right = angle and rounds(angle[1], _exact(entry["answer"].strip("°")), places=2)
        return "" if right else f"is not {entry['answer']}"
    point = re.fullmatch(r"\(?\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)?", answer, re.ASCII)
    if not point or answer.startswith("(") != answer.endswith(")"):
        return "is not a point of two coordinates alone"
    exact = map(Fraction, facts["ortho"])
    right = all(rounds(text, value, places=3) for text, value in zip(point.groups(), exact, strict=True))
    return "" if right else f"is not {entry['answer']}"


def duration(answer: str, entry: Entry) -> str:
    """The stated duration in its own units, which a date's may omit; so are leading zeros."""
    answer = f"{answer} days" if answer.isdecimal() and entry["metadata"]["task_type"] == "date" else answer
    skeletons = [re.sub(r"\d+", "0", re.sub(r"\bday\b", "days", text.casefold())) for text in (answer, entry["answer"])]
    if skeletons[0] != skeletons[1]:
        return f"is not written like {entry['answer']}"
    parts = [re.findall(r"\.?\d+", text) for text in (answer, entry["answer"])]  # a fraction's zeros count
    spans, right = ([part if part[0] == "." else int(part) for part in text] for text in parts)
    return "" if spans == right else f"is not {entry['answer']}"


def same_json(answer: str, entry: Entry) -> str:
    """The stated JSON value, to the last element, type and digit."""
    try:
        value = plain_json(answer, digits=True)
    except ValueError:
        return as_stated(answer, entry)
    right = plain_json(entry["answer"], digits=True)
    return "" if json.dumps(value, sort_keys=True) == json.dumps(right, sort_keys=True) else "is not the stated value"


def partitions(answer: str, entry: Entry) -> str:
    """A JSON list of lists of texts, none twice."""
    lists = plain_json(answer)
    if not all(isinstance(parts, list) and all(isinstance(part, str) for part in parts) for parts in lists):
        return "is not a list of lists of texts"
    return "says a partition twice" if len({tuple(parts) for parts in lists}) < len(lists) else ""


def coloring(answer: str, entry: Entry) -> str:
    """A JSON object with a whole number for each vertex, and nothing else."""
    colors, vertices = plain_json(answer), entry["metadata"]["puzzle"]["vertices"]
    if sorted(colors) != sorted(map(str, vertices)):
        return "does not color each vertex once, and nothing else"
    return "" if all(type(color) is int for color in colors.values()) else "has a color that is no whole number"


def roles(answer: str, entry: Entry) -> str:
    """`NAME is a ROLE` once for each person, with commas or "and" between, and nothing else."""
    texts = (" ".join(text.casefold().replace(",", " ").rstrip(". ").split()) for text in (answer, entry["answer"]))
    sentences, right = (re.split(r"\s+(?:and\s+)?(?=\w+ is an? )", text) for text in texts)
    return "" if sorted(map(_role, sentences)) == sorted(map(_role, right)) else "is not one role for each person alone"


def _role(text: str) -> str:
    return re.sub(r" an? ", " ", text.removeprefix("and "))


def letters_mapped(answer: str, entry: Entry) -> str:
    """`A=1,B=2`: one digit for each letter, none twice."""
    pairs = [re.fullmatch(r"\s*([A-Z])\s*=\s*(\d)\s*", pair, re.ASCII) for pair in answer.split(",")]
    if not all(pairs):
        return "is not a list of letters and digits alone"
    return "gives a letter twice" if len({pair[1] for pair in pairs if pair}) < len(pairs) else ""


def ladder(answer: str, entry: Entry) -> str:
    """Words between commas, none twice: a path that returns to a word is no shortest one."""
    words = [word.strip().upper() for word in answer.split(",")]
    return "says a word twice" if len(set(words)) < len(words) else ""


def plain_json(text: str, digits: bool = False) -> Any:
    """A JSON value in which no key comes twice; its numbers are exact texts where `digits`.

    Raises ValueError for any other text.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key comes twice")
        return dict(pairs)

    if not digits:
        return json.loads(text, object_pairs_hook=once)
    return json.loads(text, object_pairs_hook=once, parse_float=_digits, parse_int=_digits)


def _digits(text: str) -> str:
    return f"number {Decimal(text).normalize()}"


def _exact(text: str) -> Fraction:
    return Fraction(text.strip().replace(",", ""))


TURN = r"\d?[LRUDBFMESXYZ]w?\d{0,2}'?\d{0,2}"
FRACTION = r"\s*(?:\\d?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|\d+\s*/\s*\d+)\s*"

# Tasks with several right answers; all others use `as_stated`.
CHECKS: dict[str, Check] = {
    "advanced_geometry": geometry,
    "boxnet": box_moves,
    "calendar_arithmetic": stated_or_same_number,
    "chain_sum": same_number,
    "codeio": same_json,
    "cryptarithm": letters_mapped,
    "decimal_arithmetic": same_number,
    "decimal_chain_sum": same_number,
    "fraction_simplification": written(rf"{FRACTION}|\$+{FRACTION}\$+", "a fraction"),
    "game_of_life": same_json,
    "graph_color": coloring,
    "group_anagrams": as_scored,
    "jugs": jug_moves,
    "kakurasu": written(r"(?:[01](?: ?[01])*\s*\n\s*)*[01](?: ?[01])*", "a grid of 0 and 1"),
    "knight_swap": as_scored,  # a list of the fewest moves, each of which the scorer checks
    "knights_knaves": roles,
    "number_format": picked_number,
    "palindrome_generation": written(r"[A-Za-z]+", "a word"),
    "palindrome_partitioning": partitions,
    "polynomial_equations": number_list,
    "pool_matrix": number_grid,
    "power_function": three_figures,
    "prime_factorization": written(r"\d+(?:\s*×\s*\d+)*", "a product"),
    "products": same_number,
    "propositional_logic": draws_nothing,
    "quantum_lock": written(r"[A-Ca-c](?:\s*(?:→|->|,|\s)\s*[A-Ca-c])*", "a list of buttons"),
    "rectangle_count": same_number,
    "rubiks_cube": written(rf"{TURN}(?:\s+{TURN})*", "a list of turns"),
    "rush_hour": car_moves,
    "shortest_path": as_scored,  # the scorer reads nothing but directions, and asks for the fewest
    "sokoban": push_moves,
    "survo": written(r"(?:\d+(?:[^\S\n]+\d+)*\s*\n\s*)*\d+(?:[^\S\n]+\d+)*", "a grid of numbers"),
    "time_intervals": duration,
    "tower_of_hanoi": written(
        r"(?:Move disk \d+ from Peg \d+ to Peg \d+\s*\n\s*)*Move disk \d+ from Peg \d+ to Peg \d+", "a list of moves"
    ),
    "word_ladder": ladder,
}

# Checks before a scorer, which bound its time.
GUARDS: dict[str, Check] = {"propositional_logic": no_formula, "rubiks_cube": turns}


def fault(name: str, answer: str, entry: Entry) -> str:
    """Why an answer that scores 1 is wrong all the same, or "". Unreadable text is not in the task's form."""
    try:
        return CHECKS.get(name, as_stated)(answer, entry)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, ArithmeticError, RecursionError):
        return "is not in the form that the task asks for"
