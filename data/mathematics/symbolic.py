"""Whether two formulas are the same, by math-verify's parser and rules, and by numbers.

Numbers decide wherever there are any. Formulas with variables are evaluated at chosen points
(`data.mathematics.sampling`), constants to as many digits as cancel; they are the same where the values agree.
math-verify alone is wrong there in both directions: it takes 1/2004! for 1/2006!, and does not see that sqrt(1/n) is
1/sqrt(n). math-verify decides on relations and sets.
"""

import logging
import re
from functools import lru_cache
from itertools import islice
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from math_verify import verify

from data.mathematics.brackets import is_sound
from data.mathematics.sampling import close, values

MAX_DIGITS = 1_000  # to which a difference of constants is evaluated
AMPLE = 9  # points that agree are enough: each pattern of two signs is among so many; at fewer than
ENOUGH = 3  # where both sides have a value nothing is settled
NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
CONVERSION = ConversionConfig(lowercase_symbols=False)  # else R^2 - r^2 is nothing

DECIMAL = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?![\d.\\])")  # e^{2.0} would be rounded
CHOSEN = re.compile(  # C(n, 2), _nC_2, ^nC_2, nC2; that of x^2C_1 is a constant
    r"(?<![a-zA-Z\\])C\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)"
    r"|(?:\{\s*\}|(?<![\w)}\]'!\s])|(?<=\\cdot))\s*[_^]\s*\{?\s*(\w+)\s*\}?\s*C\s*_\s*\{?\s*(\w+)\s*\}?"
    r"|(?<![\w\\])(?:(\d+)C(\d+)|(n)C([rk]|\d+))(?!\w)"
)

logging.getLogger("math_verify").setLevel(logging.ERROR)


def parses(latex: str) -> bool:
    """Whether a tidy formula parses as a whole."""
    return _read(latex) is not None


def same_formula(gold: str, answer: str) -> bool:
    """Whether two tidy formulas are the same. False where either cannot be read or compared."""
    gold_formula, formula = _read(gold), _read(answer)
    if gold_formula is None or formula is None:
        return False
    try:
        return _same(gold_formula, formula)
    except MemoryError:
        raise
    except Exception:  # sympy may fail in any way; then nothing shows that they are the same
        return False


def same_inequality(gold: tuple[str, str], answer: tuple[str, str]) -> bool:
    """Whether `left < right` means the same for both pairs: one difference is a positive multiple of the other."""
    differences = [_read(f"({right}) - ({left})") for left, right in (gold, answer)]
    if not all(_is_scalar(difference) for difference in differences):
        return False
    ratio = _ratio(*differences)
    return ratio is not None and bool(ratio > 0)


def same_progression(gold: str, answer: str) -> bool:
    """Whether `a + kb` and `c + nd` are the same numbers, where k and n are any whole numbers."""
    line, other = _line(_read(gold)), _line(_read(answer))
    if line is None or other is None:
        return False
    whole, ratio = sympy.simplify((line[0] - other[0]) / line[1]), sympy.simplify(other[1] / line[1])
    return bool(whole.is_integer and ratio in (1, -1))


def _line(formula: Any) -> tuple[Any, Any] | None:
    """Value at 0, and step, of a formula with pi that is linear in its only variable, `k`, `l`, `m` or `n`."""
    if (
        not _is_scalar(formula)
        or not formula.has(sympy.pi)
        or [str(s) in "klmn" for s in formula.free_symbols] != [True]
    ):
        return None
    (symbol,) = formula.free_symbols
    step = sympy.expand(formula).diff(symbol)
    return None if step.free_symbols or step == 0 else (formula.subs(symbol, 0), step)


def _same(gold: Any, answer: Any) -> bool:
    settled = None
    if gold != answer and _line(gold) and _line(answer):  # of any whole number, whatever it is called
        (symbol,), (other,) = answer.free_symbols, gold.free_symbols
        names = {str(symbol), str(other)}
        if "k" in names or "l" not in names:  # beside m or n, l is a length
            answer = answer.subs(symbol, other)
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        if all(_is_scalar(side) for side in (*gold.args, *answer.args)):
            ratio = _ratio(gold.lhs - gold.rhs, answer.lhs - answer.rhs)
            settled = None if ratio is None else bool(ratio != 0)
    elif _is_scalar(gold) and _is_scalar(answer):
        settled = _agree(gold, answer)
    if settled is not None:
        return settled
    return verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True)


def _is_scalar(side: Any) -> bool:
    return isinstance(side, sympy.Expr) and not isinstance(side, sympy.MatrixExpr)


@lru_cache(1_000)
def _read(latex: str) -> Any:
    """The formula in sympy, decimals as fractions, i as the imaginary unit; None where it does not parse."""
    if not is_sound(latex) or re.search(r"[^a-zA-Z']'|_\W*(?:text\W*)?p\s*r\s*i\s*m\s*e", latex):
        return None
    latex = re.sub(r"(\d+(?:\.\d+)?)\s*\^\\circ", r"(\\frac{\\pi}{180} \\cdot \1)", latex)
    latex = DECIMAL.sub(lambda match: rf"(\frac{{{match[1]}{match[2]}}}{{1{'0' * len(match[2])}}})", latex)
    latex = CHOSEN.sub(lambda match: "\\binom" + "".join(f"{{{group}}}" for group in match.groups() if group), latex)
    latex = re.sub(r"(?<=[a-zA-Z])('+)", lambda match: f"_{{{'prime' * len(match[1])}}}", latex)  # f' is not f
    try:
        formula = latex2sympy(
            normalize_latex(latex, NORMAL), is_real=True, conversion_config=CONVERSION, normalization_config=None
        )
        if isinstance(formula, sympy.MatrixExpr):
            formula = formula.doit()
        if not isinstance(formula, sympy.Basic | sympy.MatrixBase) or formula.has(sympy.zoo, sympy.nan):  # 1/0
            return None
        exact: dict[Any, Any] = {number: sympy.Rational(str(number)) for number in formula.atoms(sympy.Float)}
        exact |= {symbol: sympy.I for symbol in formula.free_symbols if str(symbol) == "i"}
        return formula.xreplace(exact)
    except MemoryError:
        raise
    except Exception:  # parser and sympy may fail in any way; then the formula does not parse
        return None


def _agree(gold: sympy.Expr, answer: sympy.Expr) -> bool | None:
    """Whether two expressions have the same value at every point; None where too few points tell."""
    if not (gold.free_symbols or answer.free_symbols):
        return _same_constant(gold, answer)
    matches = 0
    for a, b in values(gold, answer):
        if not close(a, b):
            return False
        matches += 1
        if matches == AMPLE:
            return True
    return True if matches >= ENOUGH else None


def _same_constant(gold: sympy.Expr, answer: sympy.Expr) -> bool | None:
    """Whether two numbers are the same, however small their difference: 2^1000 + 1 is not 2^1000. They are the same
    where `MAX_DIGITS` digits of the difference are zeros.
    """
    difference = (gold - answer).doit()
    if difference.is_Rational:
        return bool(difference == 0)
    rest = sympy.N(difference, 20, maxn=MAX_DIGITS)  # as many digits as cancel
    if not rest.is_number or not rest.is_finite:
        return None
    return not any(part != 0 and part._prec > 1 for part in rest.as_real_imag())  # sympy gives noise a precision of 1


def _ratio(gold: sympy.Expr, answer: sympy.Expr) -> Any:
    """The number that one expression is times the other, as the differences of two sides of one equation are; 0 where
    it is not a number, None where too few points tell.
    """
    pairs = [pair for pair in islice(values(gold, answer), AMPLE) if pair[0] or pair[1]]
    if len(pairs) < ENOUGH:
        return None
    if any(not a or not b for a, b in pairs):
        return 0
    ratios = [a / b for a, b in pairs]
    return ratios[0] if all(close(ratio, ratios[0]) for ratio in ratios) else 0
