"""Units behind a number, and what they are worth.

An answer may leave out the unit that its problem asks for, but not give another: `5 m` is not `5 cm`, `50 mm` is. A
word that is no known unit (`apples`) says nothing.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from data.mathematics.numbers import MULTIPLES, exact

# Each kind's units: the names of one unit, and how many of the first unit of its kind it is.
KINDS: dict[str, dict[str, int | Fraction]] = {
    "length": {
        "m meter metre": 1, "cm centimeter centimetre": Fraction(1, 100), "mm millimeter millimetre": Fraction(1, 1000),
        "km kilometer kilometre": 1000, "in inch inches": Fraction(254, 10000), "ft foot feet": Fraction(3048, 10000),
        "yd yard": Fraction(9144, 10000), "mi mile": Fraction(1609344, 1000),
    },
    "mass": {
        "g gram": 1, "kg kilogram": 1000, "mg milligram": Fraction(1, 1000), "oz ounce": Fraction(28349523125, 10**9),
        "lb lbs pound": Fraction(45359237, 10**5),
    },
    "time": {"s sec second": 1, "min minute": 60, "h hr hour": 3600, "day": 86400, "week": 604800},
    "volume": {"L l liter litre": 1, "ml mL milliliter millilitre": Fraction(1, 1000)},
    "angle": {"degree deg": 1},
    "money": {"dollar USD": 1, "cent": Fraction(1, 100)},
    "euro": {"euro EUR": 1},
    "pound sterling": {"GBP": 1},
    "share": {"percent pct percentage": 1},
    "speed": {"mph": 1},
}  # fmt: skip
SIGNS = {"$": "dollar", "€": "euro", "£": "GBP", "%": "percent", r"^\circ": "degree"}
UNITS = {
    name: (kind, Fraction(worth))
    for kind, names in KINDS.items()
    for key, worth in names.items()
    for name in key.split()
}
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
# What may stand behind a value: words in \\text{...}, or plain ones after a space or a digit, and signs between them.
TRAILING = re.compile(
    r"(?:\s+|(?=\\text)|(?<=\d)(?=[a-zA-Z]{2}))((?:\\text\s*\{[^{}]*\}|(?<![a-zA-Z\\_^{])[a-zA-Z]+\.?|\^\s*\{?[23]\}?|[\s/-])+)$"
)
COUNTED = re.compile(rf"\s*(?:(?:{'|'.join(MULTIPLES)})s?(?![a-zA-Z])\s*)+")
# Words that make another value of the number before them, and so are no unit.
TELLING = re.compile(
    rf"\b(?:(?:{'|'.join(MULTIPLES)})s?|tenths?|hundredths?|thousandths?|millionths?|hal(?:f|ves)|thirds?|quarters?|fourths?"
    r"|fifths?|squared|cubed|plus|minus|times|over|divided|mod|modulo|base|remainder|or|and|not|to|than|more|less"
    r"|factorial|point|between|except|if|when)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A kind of quantity to a power, such as length squared, and the worth of one; `kind` None where it is unknown."""

    kind: tuple[str, int] | None
    worth: Fraction = Fraction(1)


def take_unit(text: str, *, letters: bool = True) -> tuple[str, Unit | None]:
    """The value without its unit, and the unit; tidy text without one comes back as it is.

    A single letter (`5 m`) is a unit only where `letters` says so: in a formula it is a variable.
    """
    text = text.strip()
    if exact(text) is not None or re.search(r"\\(?:sin|cos|tan|sec|csc|cot)[^a-z]", text):  # 3 million; sin 30°
        return text, None
    for sign, name in SIGNS.items():
        if text.endswith(sign):
            return text[: -len(sign)].strip(), _unit(name)
        if text.startswith((sign, "-" + sign)):
            return take_unit(text.replace(sign, "", 1).strip())[0], _unit(name)
    match = TRAILING.search(text)
    if match and (counted := COUNTED.match(match[0])) and match.start() + counted.end() < len(text):
        match = TRAILING.match(text, match.start() + counted.end() - 1)  # 3 million dollars
    value = text[: match.start()].strip() if match else ""
    if not match or not value or value[-1] in r"+-*/^_\=<>" or TELLING.search(match[1]):
        return text, None
    unit = _unit(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", match[1]).strip())
    if "\\text" not in match[1]:
        words = re.findall("[a-zA-Z]+", match[1])
        known = all(word in UNITS and (letters or len(word) > 1) for word in words)
        if not words or not (known or (text[match.start()] == " " and any(len(word) > 3 for word in words))):
            return text, None
    return value, unit


def _unit(words: str) -> Unit:
    """What the words name: `cm`, `square inches`, `cm^2`, `in^{3}`."""
    power = 1
    if match := re.search(r"\s*\^\s*\{?([23])\}?$", words):
        words, power = words[: match.start()], int(match[1])
    parts = words.replace(".", "").split()
    if len(parts) == 2 and parts[0].lower() in POWERS:
        parts, power = parts[1:], POWERS[parts[0].lower()]
    if len(parts) != 1 and parts[:1] != ["percent"]:
        return Unit(None)
    word = parts[0]
    for name in (word, word.lower(), word.lower().removesuffix("s")):
        if name in UNITS:
            kind, worth = UNITS[name]
            return Unit((kind, power), worth**power)
    return Unit(None)
