"""Numbers in an answer: parsed within bounds, and compared with an exact value to their last digit."""

import re
from decimal import Decimal
from fractions import Fraction


def number(text: str) -> Decimal:
    """A decimal number of bounded size; an exponent of two digits at most."""
    if not re.fullmatch(r"\s*[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?\s*", text, re.ASCII):
        raise ValueError(f"{text[:20]!r} is not a number")
    return Decimal(text.strip())


def rounds(text: str, exact: Fraction, *, places: int | None = None, figures: int | None = None) -> bool:
    """Whether a number is the exact value, or that value rounded at the number's own last digit.

    A rounded number needs at least so many decimal places, or significant figures; a half may go up or down. Raises
    ValueError for other text.
    """
    value = number(text)
    if Fraction(value) == exact:
        return True
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    enough = -exponent >= places if places is not None else len(digits) >= (figures or 0)
    return enough and abs(Fraction(value) - exact) <= Fraction(10) ** exponent / 2
