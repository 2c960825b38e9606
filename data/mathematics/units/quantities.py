"""Compares values with their units: the last step, after all other forms."""

import re
from fractions import Fraction

from data.mathematics.bounds import affordable
from data.mathematics.notation import plain
from data.mathematics.numbers.plain import exact
from data.mathematics.symbolic import same_formula
from data.mathematics.units.unit_table import UNITS, Dimensions, lookup
from data.mathematics.units.units import take_unit
from data.mathematics.value import is_value

ANGLE, RADIAN, SHARE, STERLING = (UNITS[name][0] for name in ("degree", "radian", "percent", "GBP"))
POUND = UNITS["pound"]  # of mass, and names of £
MONEY = {UNITS[name][0] for name in ("dollar", "euro", "GBP", "INR", "yen", "USD")}
DOLLAR = UNITS["dollar"][0]  # of which country, the problem says
OF_COUNTRIES = {UNITS[name][0] for name in ("USD", "AUD", "CAD", "HKD", "NZD", "SGD")}

ADDEND = r"\d+(?:\.\d+)?\s*[a-zA-Z]+\.?"
SUM = re.compile(rf"{ADDEND}(?:(?:(?:,\s*|\s+)(?:and\s+)?|(?=\d)){ADDEND})+")
# Signs for units, where they have such a meaning beside each other: 5'10", 30^\circ 15', $1 and 50 cents.
SIGNS = (
    (re.compile(r"^\$(\d+(?:\.\d+)?)(?=\s)"), r"\1 dollars"),
    (re.compile(r"^(\d+)\s*(?:\^\\circ|degrees?)\s*(\d+(?:\.\d+)?)\s*(?:'|minutes?)"), r"\1 degrees \2 arcminutes "),
    (re.compile(r"(?<=arcminutes )\s*(?:and\s+)?(\d+(?:\.\d+)?)\s*(?:''|\"|seconds?)$"), r"\1 arcseconds"),
    (re.compile(r"^(\d+)\s*h\s*(\d+(?:\.\d+)?)\s*m(?:ins?)?(?=\s*\d|$)"), r"\1 hours \2 minutes "),
    (re.compile(r"(?<=minutes )\s*(\d+(?:\.\d+)?)\s*s$"), r"\1 seconds"),
    (re.compile(r"^(\d+)\s*m\s*(\d+(?:\.\d+)?)\s*s$"), r"\1 minutes \2 seconds"),
    (re.compile(r"^(\d+)\s*'\s*(\d+(?:\.\d+)?)\s*(?:''|\")$"), r"\1 feet \2 inches"),
)


def quantity_sum(text: str) -> tuple[Fraction, Dimensions] | None:
    """The worth and dimension of `2 hours 30 minutes`, `5 ft 3 in` or `30^\\circ 15'`; None where a part is not smaller
    than one of the unit before it.
    """
    text = plain(text)
    for sign, words in SIGNS:
        text = sign.sub(words, text).strip()
    if not SUM.fullmatch(text):
        return None
    total, kind, before = Fraction(0), None, None
    for number, name in re.findall(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)", text):
        unit = lookup(name)
        if unit is None or (kind is not None and unit[0] != kind):
            return None
        part = Fraction(number) * unit[1]
        if before is not None and part >= before:
            return None
        total, kind, before = total + part, unit[0], unit[1]
    return (total, kind) if kind else None


def amount(text: str) -> tuple[Fraction, Dimensions] | None:
    """The worth and dimension of a plain number with a known unit."""
    value, unit = take_unit(text)
    number = exact(value)
    return (number * unit.worth, unit.kind) if number is not None and unit and unit.kind else None


def same_quantity(gold: str, answer: str) -> bool:
    """Whether two values, with or without a unit, are the same."""
    (value, unit), (other_value, other_unit) = (take_unit(text, letters=False) for text in (gold, answer))
    if other_unit or exact(other_value) is not None:
        value, unit = take_unit(gold)
    if unit or exact(value) is not None:
        other_value, other_unit = take_unit(answer)
    kinds = [each.kind if each else None for each in (unit, other_unit)]
    if (unit is None or other_unit is None) and any(re.search(r"\dK$|\d K$", text) for text in (gold, answer)):
        return False  # kelvins, or thousands
    if ANGLE in kinds and (RADIAN in kinds or (None in kinds and r"\pi" in gold + answer)):
        degrees, other = (value, other_value) if kinds[0] == ANGLE else (other_value, value)
        return same_formula(rf"\frac{{\pi}}{{180}} \cdot {degrees}", other) if affordable(answer, gold) else False
    if unit and other_unit and unit.words and other_unit.words and not unit.words & other_unit.words:
        return False  # apples and oranges
    if unit and other_unit and (kinds[0] or kinds[1]):
        if kinds[0] != kinds[1] and _is_rate(*kinds):
            return _same_value(value, other_value)  # $20 per hour is $20 where the problem says per hour
        if kinds[0] != kinds[1] and not (DOLLAR in kinds and OF_COUNTRIES.intersection(kinds)):
            pounds = STERLING in kinds and POUND in ((unit.kind, unit.worth), (other_unit.kind, other_unit.worth))
            return pounds and _same_value(value, other_value)
        if unit.worth != other_unit.worth:
            a, b, ratio = exact(value), exact(other_value), unit.worth / other_unit.worth
            if a is not None or b is not None:
                return a is not None and b is not None and a * ratio == b
            scaled = rf"\frac{{{ratio.numerator}}}{{{ratio.denominator}}} \cdot ({value})"
            return same_formula_of_value(scaled, other_value)
    if (kinds[0] == SHARE) != (kinds[1] == SHARE):  # 50% is 0.5, and 50 where the problem asks for a percentage
        return _same_value(value, other_value) or _same_share(value, other_value, kinds[0] == SHARE)
    return _same_value(value, other_value)


def _is_rate(kind: Dimensions | None, other: Dimensions | None) -> bool:
    """Whether one kind is money, and the other that money over something."""
    money, rate = sorted((kind or (), other or ()), key=len)
    return (
        money in MONEY
        and set(money) < set(rate)
        and all(power < 0 for name, power in rate if (name, power) not in money)
    )


def _same_value(gold: str, answer: str) -> bool:
    gold_value, value = exact(gold), exact(answer)
    if gold_value is not None:
        return gold_value == value  # an answer must be a number where the gold answer is one
    return same_formula_of_value(gold, answer)


def _same_share(gold: str, answer: str, gold_is_share: bool) -> bool:
    """Whether one side, in hundredths, is the other."""
    gold_value, value = exact(gold), exact(answer)
    if gold_value is not None:
        return value is not None and (gold_value == value * 100 if gold_is_share else gold_value * 100 == value)
    scaled = (rf"\frac{{{gold}}}{{100}}", answer) if gold_is_share else (gold, rf"\frac{{{answer}}}{{100}}")
    return same_formula_of_value(*scaled)


def same_formula_of_value(gold: str, answer: str) -> bool:
    """Whether formulas are the same. The answer must be small enough, and a value if the gold answer is one."""
    return is_value(answer, gold) and affordable(answer, gold) and same_formula(gold, answer)
