r"""Whether a formula is small enough to be parsed and worked out at all: a hostile one costs microseconds here, and
would cost a worker behind here.

Nothing is computed. Only the text of a tidy formula is measured: its length, how deep its brackets nest, how large its
numbers, exponents and factorials are, and how high its powers pile up. An answer may go beyond a limit only as far as
its gold answer does, for a problem may be about $3^{2005}$ or $\frac{1}{2004!}$.
"""

import re
from dataclasses import dataclass

from data.mathematics.brackets import closer, outside

LENGTH = 240  # characters; the parser takes up to 13 ms for each 10 of them
BRACES, BRACKETS, SCRIPTS = 10, 5, 2  # levels; six of parentheses take the parser 0.6 s, twenty 2 s
BARS, FUNCTIONS = 10, 10  # in all
DIGITS = 60  # of one number
EXPONENT = 200
FACTORIAL = 170
TERMS = 1_000  # the bound of a sum, and the upper number of a binomial coefficient
SLACK = 4  # times the gold answer's

NUMBERS = re.compile(r"\d+")
FACTORIALS = re.compile(r"(\d+|[a-zA-Z]|[)}\]|])\s*(!+)")
COUNTERS = re.compile(
    r"\\(?:Gamma|binom|sum|prod|lim|int|choose|bmod|gcd|lcm)(?![a-zA-Z])|(?<![a-zA-Z])C\s*[(_]|(?<=\d)C(?=\d)"
)
SIGNS = re.compile(r"[-+^!]{5}|(?:\^\s*(?:\w|\{[^{}]*\})\s*){3}")  # x^x^x^x
CALLS = re.compile(r"\\(?:a?r?c?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|Gamma|zeta)(?![a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Size:
    """What makes a formula slow: each field is the largest of its kind in the formula."""

    length: int
    braces: int
    brackets: int
    scripts: int
    bars: int
    functions: int
    digits: int
    exponent: int
    factorial: int
    terms: int


LIMITS = Size(LENGTH, BRACES, BRACKETS, SCRIPTS, BARS, FUNCTIONS, DIGITS, EXPONENT, FACTORIAL, TERMS)


def affordable(answer: str, gold: str) -> bool:
    """Whether a formula is small enough to evaluate beside this gold answer. Both are tidy; takes linear time."""
    if SIGNS.search(answer):
        return False
    size, golden = size_of(answer), size_of(gold)
    return all(
        getattr(size, name) <= max(getattr(LIMITS, name), SLACK * getattr(golden, name)) for name in Size.__slots__
    )


def size_of(text: str) -> Size:
    """The measures of a tidy formula."""
    text = text.replace(r"\{", "(").replace(r"\}", ")")
    return Size(
        length=len(text),
        braces=max((depth for _, depth in outside(text, "{", "}")), default=0),
        brackets=max((depth for _, depth in outside(text, "([", ")]")), default=0),
        scripts=max(_stacked(text, "^"), _stacked(text, "_")),
        bars=text.count("|"),
        functions=len(CALLS.findall(text)),
        digits=max((len(number) for number in NUMBERS.findall(text)), default=0),
        exponent=max((_magnitude(power) for power in _scripts(text, "^")), default=0),
        factorial=_factorial(text),
        terms=(10**9 if _grows(text) else _magnitude(text)) if COUNTERS.search(text) else 0,
    )


def _scripts(text: str, sign: str) -> list[str]:
    """The superscripts (or subscripts): the group behind each sign, or the one character."""
    groups = []
    for match in re.finditer(re.escape(sign) + r"\s*", text):
        end = closer(text, match.end()) if text[match.end() : match.end() + 1] == "{" else match.end()
        groups.append(text[match.end() : end + 1] if end >= 0 else text[match.end() :])
    return groups


def _stacked(text: str, sign: str) -> int:
    """The height of a tower of powers or indices: 1 for x^2, 2 for e^{x^2}. A tower of numbers counts double."""
    levels = 0
    for script in _scripts(text, sign):
        inner, height = script, 1
        while sign in inner and height < SCRIPTS * SLACK * 2:
            inner, height = max(_scripts(inner, sign), key=len), height + 1
        numeric = height > 1 and not re.search(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])", script)
        levels = max(levels, 2 * height if numeric and _tower(script) > EXPONENT else height)
    return levels


def _tower(power: str) -> int:
    """The value of an exponent `{2^{3}}` that is a power of whole numbers; a large one for any other."""
    match = re.fullmatch(r"\{?\s*(\d{1,3})\s*\^\s*\{?\s*(\d)\s*\}?\s*\}?", power)
    return int(match[1]) ** int(match[2]) if match else EXPONENT + 1


def _magnitude(text: str) -> int:
    """The largest whole number in the text, powers of ten included."""
    largest = max((int(number[:18]) for number in NUMBERS.findall(text)), default=0)
    powers = re.findall(r"(\d{1,4})\s*\^\s*\{?\s*(\d{1,9})", text)
    return max([largest, *(int(base) ** min(int(power), 20) for base, power in powers)])


def _factorial(text: str) -> int:
    """The largest number under a factorial; one of an expression without letters counts as too large, and so does one
    of a factorial.
    """
    largest = 0
    for match in FACTORIALS.finditer(text):
        if len(match[2]) > 2:
            return 10**9
        if match[1].isdigit():
            largest = max(largest, int(match[1][:9]))
        elif not match[1].isalpha():
            group = text[: match.end(1)]
            opener = _opener(group)
            inner = re.sub(r"\\[a-zA-Z]+", "", group[opener:])
            largest = max(largest, _magnitude(inner) if re.search("[a-zA-Z]", inner) and "!" not in inner else 10**9)
    return largest


def _grows(text: str) -> bool:
    """Whether a Gamma function or a binomial coefficient is an argument of another one: their values are large."""
    for match in re.finditer(r"\\(?:Gamma|binom)\s*(?=[({])", text):
        place = match.end()
        while text[place : place + 1] in ("(", "{") and (end := closer(text, place)) >= 0:
            if re.search(r"\\(?:Gamma|binom|sum|prod)(?![a-zA-Z])|!", text[place:end]):
                return True
            place = end + 1
    return False


def _opener(group: str) -> int:
    """The place of the bracket that the last character of the group closes."""
    depth = 0
    for place in range(len(group) - 1, -1, -1):
        depth += (group[place] in ")]}") - (group[place] in "([{")
        if depth == 0:
            return place
    return 0
