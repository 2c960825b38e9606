"""Whether two formulas are the same, by math-verify's parser and rules, and by numbers.

Numbers settle it wherever there are any: two formulas are evaluated to 60 digits, at points chosen for their variables,
and are the same where they agree at all of them. math-verify itself is wrong there in both directions: it takes 1/2004!
for 1/2006!, and does not see that sqrt(1/n) is 1/sqrt(n). Relations and sets are left to math-verify.
"""

import logging
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from math_verify import verify

from data.mathematics.brackets import is_sound

DIGITS = 60
AGREED = sympy.Float(10) ** -45  # relative
MAX_DIGITS = 1_000  # to which a difference of constants is worked out
POINTS = 12  # tried, until
AMPLE = 5  # of them agree; at fewer than
ENOUGH = 3  # where both sides have a value nothing is settled
NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
CONVERSION = ConversionConfig(lowercase_symbols=False)  # else R^2 - r^2 is nothing

logging.getLogger("math_verify").setLevel(logging.ERROR)


def parses(latex: str) -> bool:
    """Whether the whole of a tidy formula can be read."""
    return _read(latex) is not None


def same_formula(gold: str, answer: str) -> bool:
    """Whether two tidy formulas are the same. False where either cannot be read."""
    wanted, given = _read(gold), _read(answer)
    if wanted is None or given is None:
        return False
    if isinstance(wanted, sympy.Eq) and isinstance(given, sympy.Eq):
        settled = _proportional(wanted.lhs - wanted.rhs, given.lhs - given.rhs)
    elif all(isinstance(side, sympy.Expr) and not isinstance(side, sympy.MatrixExpr) for side in (wanted, given)):
        settled = _agree(wanted, given)
    else:
        settled = None
    if settled is not None:
        return settled
    return verify(wanted, given, timeout_seconds=None, allow_set_relation_comp=True)


@lru_cache(1_000)
def _read(latex: str) -> Any:
    """The formula as sympy has it, decimals as fractions and i as the imaginary unit; None where it cannot be read."""
    if not is_sound(latex):
        return None
    latex = re.sub(r"(\d+(?:\.\d+)?)\s*\^\\circ", r"(\\frac{\\pi}{180} \\cdot \1)", latex)
    try:
        formula = latex2sympy(
            normalize_latex(latex, NORMAL), is_real=True, conversion_config=CONVERSION, normalization_config=None
        )
        if isinstance(formula, sympy.MatrixExpr):
            formula = formula.doit()
        if not isinstance(formula, sympy.Basic | sympy.MatrixBase):
            return None
        exact: dict[Any, Any] = {number: sympy.Rational(str(number)) for number in formula.atoms(sympy.Float)}
        exact |= {symbol: sympy.I for symbol in formula.free_symbols if str(symbol) == "i"}
        return formula.xreplace(exact)
    except MemoryError:
        raise
    except Exception:  # whatever parser and sympy die of, the formula has not been read
        return None


def _agree(wanted: sympy.Expr, given: sympy.Expr) -> bool | None:
    """Whether two expressions have the same value at every point; None where too few points tell."""
    if not (wanted.free_symbols or given.free_symbols):
        return _same_constant(wanted, given)
    told = 0
    for a, b in _values(wanted, given):
        if not _close(a, b):
            return False
        told += 1
        if told == AMPLE:
            return True
    return True if told >= ENOUGH else None


def _same_constant(wanted: sympy.Expr, given: sympy.Expr) -> bool | None:
    """Whether two numbers are the same, however small what tells them apart: 2^1000 + 1 is not 2^1000."""
    difference = (wanted - given).doit()
    if difference.is_Rational:
        return bool(difference == 0)
    left = sympy.N(difference, 20, maxn=MAX_DIGITS)  # as many digits as cancel
    if not left.is_number or not left.is_finite:
        return None
    sizes = [abs(sympy.N(side, 20)) for side in (wanted, given)]
    return bool(abs(left) <= AGREED * (min(1, *sizes) or 1))


def _proportional(wanted: sympy.Expr, given: sympy.Expr) -> bool | None:
    """Whether one expression is a constant times the other, as the differences of two sides of one equation are."""
    ratios = [a / b if b else sympy.oo for a, b in islice(_values(wanted, given), AMPLE) if a or b]
    if len(ratios) < ENOUGH:
        return None
    return all(ratio != sympy.oo and ratio != 0 and _close(ratio, ratios[0]) for ratio in ratios)


def _values(wanted: sympy.Expr, given: sympy.Expr) -> Iterator[tuple[Any, Any]]:
    """Both values at each point where there are two. Without an i in them, a point where neither is real says nothing:
    sqrt(1/n) is 1/sqrt(n), for both mean a positive n.
    """
    real = not (wanted.has(sympy.I) or given.has(sympy.I))
    symbols = sorted(wanted.free_symbols | given.free_symbols, key=str)
    whole = wanted.has(sympy.Sum, sympy.Product) or given.has(sympy.Sum, sympy.Product)
    for point in _points(symbols, whole):
        a, b = (sympy.N(formula.subs(point), DIGITS) for formula in (wanted, given))
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
            continue
        if real and not (_is_real(a) or _is_real(b)):
            continue
        yield a, b


def _points(symbols: list[Any], whole: bool) -> Iterator[dict[Any, Any]]:
    """Points to evaluate at: of either sign, near zero and far from it, and some of them whole and positive, or all
    where the formula counts something.
    """
    rng = random.Random(0)
    for number in range(POINTS):
        scale = 1 if whole else (2003, 499, 97, 1)[number % 4]
        sizes, sign = ((2, 12), 1) if scale == 1 else ((101, 999), -1 if number % 3 == 2 else 1)
        yield {symbol: sign * sympy.Rational(rng.randint(*sizes), scale) for symbol in symbols}


def _is_real(value: Any) -> bool:
    real, imaginary = value.as_real_imag()
    return bool(abs(imaginary) <= AGREED * abs(real))


def _close(a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= AGREED * max(abs(a), abs(b)))
