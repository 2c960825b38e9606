"""Compares two formulas at points chosen for their variables.

Points are numbers of `PRECISION` digits, never exact ones: a power of exact numbers could be millions of digits long,
and one of rounded numbers is a few additions.
"""

import random
from collections.abc import Iterator
from typing import Any

import sympy

PRECISION = 300  # digits carried
AGREED = sympy.Float(10, 60) ** -180  # relative: below e^-400 beside 1, above rounding
POINTS = 16  # tried
MAX_SYMBOLS = 12
SCALES = (2003, 499, 97, 1)


def values(gold: sympy.Expr, answer: sympy.Expr) -> Iterator[tuple[Any, Any]]:
    """Both values at each point where both exist. Where the formulas have no i, points at which neither is real are
    left out: sqrt(1/n) is 1/sqrt(n), since both mean a positive n.
    """
    real = not (gold.has(sympy.I) or answer.has(sympy.I))
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    whole = gold.has(sympy.Sum, sympy.Product) or answer.has(sympy.Sum, sympy.Product)
    if len(symbols) > MAX_SYMBOLS:
        return
    for point in _points(symbols, whole):
        a, b = (sympy.N(formula.subs(point), PRECISION) for formula in (gold, answer))
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
            continue
        if real and not (is_real(a) or is_real(b)):
            continue
        yield a, b


def _points(symbols: list[Any], whole: bool) -> Iterator[dict[Any, Any]]:
    """Points of every pattern of signs, near zero and far from it.

    Some are positive whole numbers; all are where the formula counts something.
    """
    rng = random.Random(0)
    for number in range(POINTS):
        scale = 1 if whole else SCALES[number % 4]
        point: dict[Any, Any] = {}
        for place, symbol in enumerate(symbols):
            if scale == 1:
                point[symbol] = sympy.Integer(rng.randint(2, 12))
                continue
            negative = number % 3 == 2 or (number % 3 == 1 and (number // 3 + place) % 2)
            size = sympy.Rational(rng.randint(101, 999), scale)
            if number % 8 == 6 and scale == 97:
                size *= 997  # far out
            point[symbol] = sympy.Float(-size if negative else size, PRECISION)
        yield point


def is_real(value: Any) -> bool:
    """Whether a number's imaginary part is negligible."""
    real, imaginary = value.as_real_imag()
    return bool(abs(imaginary) <= AGREED * abs(real))


def close(a: Any, b: Any) -> bool:
    """Whether two numbers agree."""
    return bool(abs(a - b) <= AGREED * max(abs(a), abs(b)))
