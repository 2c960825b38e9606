r"""Units behind a number, and their worth.

An answer may omit the unit that its problem asks for, or add one where the gold answer has none. Where both have one,
they must be the same quantity: `50 mm` for `5 cm`, `72 km/h` for `20 m/s`, but neither `5 radians` for degrees nor `20
rupees` for dollars. Unknown words (`red apples`) must share one, and differ from every known unit.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from data.mathematics.notation import tidy
from data.mathematics.numbers.plain import exact
from data.mathematics.numbers.words import DENOMINATORS, MULTIPLES, SMALL, spelled
from data.mathematics.units.unit_table import (
    CODES,
    COUNTRIES,
    PREFIXES,
    SUFFIXES,
    UNITS,
    WRAPPED_ALONE,
    Dimensions,
    lookup,
)

POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
FILLERS = {
    "each", "total", "in", "altogether", "long", "tall", "wide", "high", "deep", "old", "away", "apart", "all", "of",
    "full", "whole", "extra", "additional", "US", "American",
}  # fmt: skip
# Text behind a value: words in \\text{...}, or plain ones after a space or a digit, and signs between them.
TRAILING = re.compile(
    r"(?:\s+|(?=\\text)|(?<=\d)(?=[a-zA-Z]{2}))"
    r"((?:\\text\s*\{(?:[^{}]|\^\s*\{-?[1-4]\})*\}"
    r"|(?<![a-zA-Z\\_^{])[a-zA-Z]+\.?|\^\s*\{?-?[1-4]\}?|(?<=[}\da-zA-Z])\s*\\cdot\s*(?=\\text|[a-zA-Z])|(?<=[a-zA-Z])\s*/\s*\([a-zA-Z]+(?:[\s-]|\\cdot)+[a-zA-Z]+\)|[\s/-])+)$"
)
NAMED = r"\s*(?:\\text\s*\{{\s*)?(?P<{}>[a-zA-Z]+)\s*\}}?\s*"
OVER = re.compile(  # \frac{\text{m}}{\text{s}}
    rf"(?<=[\d}}\s])\s*\\frac\s*\{{{NAMED.format('above')}\}}\s*\{{{NAMED.format('below')}(?P<power>\^\s*\{{?[23]\}}?)?\s*\}}$"
)
SPELLED = re.compile(r"(?:\\text\s*\{)?\s*([a-zA-Z][a-zA-Z-]*(?: [a-z-]+){0,5}) ([a-z]{2,})\s*\}?")
DEGREES = re.compile(r"\s*\^\\circ\s*(?:\\text\s*\{\s*)?(C|F|K|Celsius|Fahrenheit)\s*\}?$")
COUNTED = re.compile(rf"\s*(?:(?:{'|'.join(MULTIPLES)})s?(?![a-zA-Z])\s*)+")
CODE = re.compile(rf"(?:\\text\s*\{{\s*)?({'|'.join(CODES)})\.?\s*(?:\$\s*\}}\s*(?=-?\d)|\}}?\s*(?:(?=\$)|(?=-?\d)))")
RATE = re.compile(  # $10 per hour, $10/\\text{hr}
    r"^(-?)([$€£₹¥])(\d[\d,.]*)\s*(?:/\s*|(?:\\text\s*\{\s*)?(?:/|\bper\b|\ban?\b|\bevery\b))\s*"
    r"(?:\\text\s*\{\s*)?([a-zA-Z][a-zA-Z /]*?)\s*\}{0,2}$"
)
DOLLARS_OF = re.compile(rf"(?:\\text\s*\{{\s*)?({'|'.join(COUNTRIES)})\s*\}}?\s*\$\s*\}}?\s*(?=-?[\d.])")
IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman", "mice": "mouse"}
# Words that take the number before them back, where they stand alone: 12 rejected, but 12 rejected letters.
RETRACTING = (
    r"(?:(?:reject|refut|discard|dismiss|eliminat|exclud|retract|estimat|guess|negat|revers|transpos|flipp|repeat"
    r"|reciprocat|multipli|fail|ow)ed"
    r"|(?:unlike|hypothetical|theoretical|supposed|alleged|incorrect|wrong|false|possib|probab|presumab|hard)ly)"
)
# Words that change the value of the number before them, and so are no unit.
TELLING = re.compile(
    r"^\W*(?:\\text\s*\{\s*)?(?:(?:squared|cubed)\b(?!\s+[a-z])|above\b|below\b|under\b|beyond\b)"
    r"|\b(?:above|below|under)\s+zero\b|\btoo\s+\w+|\bpercent\s+(?:more|less|fewer|off)\b|^\s*(?:\\text\s*\{\s*)?(?:off|(?:at\s+)?(?:the\s+)?(?:maximum|minimum))\s*\}?$"
    rf"|\b(?:(?:{'|'.join([*MULTIPLES, *DENOMINATORS])})s?|halves|tens|plus|minus"
    r"|negative|positive|times|(?<!left\s)over|divided|mod|modulo|base|remainder|or|and|not|to|than|least|most"
    r"|factorial|point|between|except|if|when|about|approximately|around|roughly|nearly|almost|wrong|incorrect|untrue|false|no"
    r"|isn|never|twice|thrice|doubled?|tripled?|quadrupled?|halved|tenfold|inverse|inverted|reciprocal|opposite|conjugate"
    r"|repeating|recurring|onwards?|upwards?|downwards?|backwards?|exclusive|maybe|perhaps|ish|approx|nope"
    r"|\w*illions?|\w*(?:illionth|ieth|teenth)s?|nths?|zillions?|grand|braces?|doubles|complement|debt|upside down"
    r"|invalid|impossible|per mille|nano|micro|milli|centi|deci|mega|giga|tera)\b"
    rf"|^\W*(?:\\text\s*\{{\s*)?{RETRACTING}\W*$|\b(?:binary|octal|hex(?:adecimal)?)\W*$",
    re.IGNORECASE,
)


WRAPPED = re.compile(r"\\text\s*\{((?:[^{}]|\{-?[1-4]\})*)\}")


@dataclass(frozen=True, slots=True)
class Unit:
    """A quantity such as length over time, and the worth of one; `kind` None where it is unknown, and `words` the stems
    of what was counted.
    """

    kind: Dimensions | None
    worth: Fraction = Fraction(1)
    words: frozenset[str] = frozenset()


def take_unit(text: str, *, letters: bool = True) -> tuple[str, Unit | None]:
    """The value without its unit, and the unit; tidy text without one comes back as it is.

    A single letter (`5 m`) outside of `\\text{...}` is a unit only where `letters` says so: it may be a variable.
    """
    text = text.strip()
    if (
        (match := SPELLED.fullmatch(text))
        and exact(text) is None
        and (lookup(match[2]) or match[2].endswith("s"))
        and (number := spelled(match[1])) is not None
    ):
        text = rf"{number}\text{{ {match[2]}}}"  # five dollars
    if exact(text) is not None or re.search(r"\\(?:sin|cos|tan|sec|csc|cot)[^a-z]", text):  # 3 million; sin 30°
        return text, None
    if match := DEGREES.search(text):
        scale = {"C": "Celsius", "F": "Fahrenheit"}.get(match[1], match[1])
        return text[: match.start()].strip(), _unit(scale)
    if (match := CODE.match(text)) and match.end() < len(text):
        return take_unit(text[match.end() :].lstrip("$ "))[0], _unit(CODES[match[1]])
    if match := DOLLARS_OF.match(text):
        return take_unit(text[match.end() :])[0], _unit(COUNTRIES[match[1]])
    if match := RATE.match(text):
        return _take_words(rf"{match[1]}{match[3]}\text{{ {PREFIXES[match[2]]} per {match[4]}}}", letters)
    for sign, name in SUFFIXES.items():
        if text.endswith(sign) and text.count(r"^\circ") < 2:  # of a sum of angles the last sign is no unit
            return text[: -len(sign)].strip(), _unit(name)
        if sign in PREFIXES and text.startswith((sign, "-" + sign)):
            return take_unit(text.replace(sign, "", 1).strip())[0], _unit(name)
    return _take_words(text, letters)


def as_share(text: str) -> str | None:
    """`5\\%` as the fraction that it is, `1/20`; None for what is no percentage."""
    value, unit = take_unit(tidy(text))
    number = exact(value)
    if number is None or unit is None or unit.kind != UNITS["percent"][0]:
        return None
    return f"{(number / 100).numerator}/{(number / 100).denominator}"


def _take_words(text: str, letters: bool) -> tuple[str, Unit | None]:
    if (match := OVER.search(text)) and all(lookup(name) for name in match.group("above", "below")):
        text = f"{text[: match.start()]} \\text{{{match['above']}/{match['below']}{match['power'] or ''}}}"
    match = TRAILING.search(text)
    if match and (number := COUNTED.match(match[0])) and match.start() + number.end() < len(text):
        match = TRAILING.match(text, match.start() + number.end() - 1)  # 3 million dollars
    value = text[: match.start()].strip() if match else ""
    if not match or not value or value[-1] in r"+-*/^_\=<>" or value.endswith(r"\cdot") or TELLING.search(match[1]):
        return text, None
    unit = _unit(WRAPPED.sub(r" \1 ", match[1]).strip())
    words = re.findall("[a-zA-Z]+", WRAPPED.sub(" ", match[1]).replace(r"\cdot", " "))
    if SMALL.keys() & set(words) and (words[-1] in SMALL or re.search("[a-z]{3}", value)):  # two thirty
        return text, None
    if r"\cdot" in match[1] and words and not _is_product(unit, words, match[1]):
        return text, None
    if "\\text" not in match[1]:
        if WRAPPED_ALONE.intersection(words):
            return text, None
        is_unit = unit.kind is not None and (letters or any(len(word) > 1 for word in words))
        long = text[match.start()] == " " and any(len(word) > 3 for word in words)
        if not words or not (is_unit or long):
            return text, None
    return value, unit


def _is_product(unit: Unit, words: list[str], written: str) -> bool:
    """Whether bare words around `\\cdot` are units, as in `kg \\cdot m/s^2`: letters alone may be variables."""
    return unit.kind is not None and ("^" in written or all(len(word) > 1 for word in words))


def _unit(words: str) -> Unit:
    """The unit that the words name: `cm`, `square inches`, `in^{3}`, `m/s^2`, `miles per hour`."""
    words = re.sub(r"\belectron[\s-]volt", "electronvolt", words)
    words = re.sub(r"/\s*\(([^()/]*)\)", lambda m: "/" + re.sub(r"\s+|\\cdot|-", "/", m[1].strip()), words)
    words = re.sub(r"\bper\b|(?<=\S)\s+an?\s+(?=\S)", "/", words.replace(r"\cdot", " ").replace(".", " "))
    above, *below = re.sub(r"\s*\^\s*\{?\s*(-?)\s*([1-4])\s*\}?", r"^\1\2", words).split("/")
    unit = _product(above)
    for part in below:
        divisor = _product(part)
        if divisor.kind is not None and unit.kind is not None:  # dollars per ticket are dollars
            unit = Unit(_combined(unit.kind, divisor.kind, -1), unit.worth / divisor.worth)
    return (
        unit
        if unit.kind is not None
        else Unit(None, words=frozenset(map(_stem, re.findall("[a-z]{3,}", words.lower()))))
    )


def _stem(noun: str) -> str:
    """A noun in a form that its singular and its plural share."""
    return re.sub("y$", "i", IRREGULAR.get(noun, noun).removesuffix("s").removesuffix("e"))


def _product(words: str) -> Unit:
    """One unit to a power, or several side by side, without descriptions; unknown where one is unknown."""
    kind: Dimensions = ()
    worth, power = Fraction(1), 1
    parts = [word for word in re.split(r"[\s-]+(?![1-4])", words.strip()) if word]
    if len(parts) > 2 and "of" in parts[1:-1]:  # gallons of milk
        parts = parts[: parts.index("of")]
    while len(parts) > 1 and parts[-1] in FILLERS:
        parts.pop()
    while len(parts) > 1 and parts[0] in FILLERS - {"in"}:
        parts.pop(0)
    if parts[:1] == ["degrees"] and len(parts) == 2 and lookup(parts[1]) and len(parts[1]) > 1:
        parts = parts[1:]
    for word in parts:
        if word.lower() in ("squared", "cubed") and kind:
            kind, worth = _combined((), kind, POWERS[word.lower()]), worth ** POWERS[word.lower()]
            continue
        if word.lower() in POWERS:
            power = POWERS[word.lower()]
            continue
        name, _, raised = word.partition("^")
        entry = lookup(name)
        if entry is None:
            return Unit(None)
        exponent = power * int(raised or 1)
        kind, worth, power = _combined(kind, entry[0], exponent), worth * entry[1] ** exponent, 1
    return Unit(kind or None, worth)


def _combined(kind: Dimensions, other: Dimensions, times: int) -> Dimensions:
    """The dimensions of a product of one quantity and another to a power."""
    powers = dict(kind)
    for name, power in other:
        powers[name] = powers.get(name, 0) + power * times
    return tuple(sorted((name, power) for name, power in powers.items() if power))
