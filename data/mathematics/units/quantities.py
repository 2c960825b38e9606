"""Compares values with their units: the last step, after all other forms."""

from data.mathematics.bounds import affordable
from data.mathematics.numbers.plain import exact
from data.mathematics.symbolic import same_formula
from data.mathematics.units.unit_table import UNITS
from data.mathematics.units.units import take_unit
from data.mathematics.value import is_value

ANGLE, RADIAN, SHARE, STERLING = (UNITS[name][0] for name in ("degree", "radian", "percent", "GBP"))
POUND = UNITS["pound"]  # of mass, and names of £


def same_quantity(gold: str, answer: str) -> bool:
    """Whether two values, with or without a unit, are the same."""
    (value, unit), (given, given_unit) = (take_unit(text, letters=False) for text in (gold, answer))
    if given_unit or exact(given) is not None:
        value, unit = take_unit(gold)
    if unit or exact(value) is not None:
        given, given_unit = take_unit(answer)
    kinds = [found and found.kind for found in (unit, given_unit)]
    if ANGLE in kinds and (RADIAN in kinds or (None in kinds and r"\pi" in gold + answer)):
        degrees, other = (value, given) if kinds[0] == ANGLE else (given, value)
        return same_formula(rf"\frac{{\pi}}{{180}} \cdot {degrees}", other) if affordable(answer, gold) else False
    if unit and given_unit and (kinds[0] or kinds[1]):
        if kinds[0] != kinds[1]:
            pounds = STERLING in kinds and POUND in ((unit.kind, unit.worth), (given_unit.kind, given_unit.worth))
            return pounds and _same_value(value, given)
        if unit.worth != given_unit.worth:
            wanted, found = exact(value), exact(given)
            return wanted is not None and found is not None and wanted * unit.worth == found * given_unit.worth
    if (kinds[0] == SHARE) != (kinds[1] == SHARE):  # 50% is 0.5, and 50 where the problem asks for a percentage
        return _same_value(value, given) or _same_share(value, given, kinds[0] == SHARE)
    return _same_value(value, given)


def _same_value(gold: str, answer: str) -> bool:
    wanted, given = exact(gold), exact(answer)
    if wanted is not None:
        return wanted == given  # an answer must be a number where the gold answer is one
    return same_formula_of_value(gold, answer)


def _same_share(gold: str, answer: str, gold_is_share: bool) -> bool:
    """Whether one side, in hundredths, is the other."""
    wanted, given = exact(gold), exact(answer)
    if wanted is not None:
        return given is not None and (wanted == given * 100 if gold_is_share else wanted * 100 == given)
    scaled = (rf"\frac{{{gold}}}{{100}}", answer) if gold_is_share else (gold, rf"\frac{{{answer}}}{{100}}")
    return same_formula_of_value(*scaled)


def same_formula_of_value(gold: str, answer: str) -> bool:
    """Whether formulas are the same. The answer must be small enough, and a value if the gold answer is one."""
    return is_value(answer, gold) and affordable(answer, gold) and same_formula(gold, answer)
