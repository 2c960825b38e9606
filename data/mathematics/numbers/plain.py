"""The exact value of a plain number, however it is written: `1,000`, `-3/4`, `2\\frac{1}{2}`, `0.8\\overline{3}`,
`1.5 \\times 10^{-5}`, `3 million`, `1_000_000`, `1011_2`. Linear in the length of the text, so it needs no worker.
"""

import re
from fractions import Fraction

from data.mathematics.brackets import closer
from data.mathematics.numbers.words import MULTIPLES, spelled

MAX_CHARACTERS = 1_000
MAX_EXPONENT = 1_000

# In groups of three, set apart in one way throughout; a single group behind a point would be decimals.
DIGITS = r"(?:\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+|(?:_\d{3})+|(?:'\d{3})+)|\d{1,3}(?:\.\d{3}){2,}|\d+)"
DECIMAL = re.compile(
    rf"(?P<whole>{DIGITS})?(?:\.(?P<decimals>\d*))?"
    r"(?:\\(?:overline|bar|dot)\s*(?:\{(?P<period>\d+)\}|(?P<digit>\d))|(?P<dots>\.\.\.))?"
)
FRACTION = re.compile(r"\\frac\s*(?:\{\s*([+-]?[\d.,]+)\s*\}|(\d))\s*(?:\{\s*([+-]?[\d.,]+)\s*\}|(\d))")
SLASHED = re.compile(r"[{(]?\s*([\d.,]+)\s*[})]?\s*(?:/|\bout of\b)\s*[{(]?\s*([+-]?[\d.,]+)\s*[})]?")
POWER = re.compile(
    r"(?:(?P<factor>.*\S)\s*(?:\\times|\\cdot|x)\s*)?10\s*\^\s*(?:\{\s*(?P<braced>[+-]?\d+)\s*\}|(?P<bare>\d+))"
)
EXPONENT = re.compile(r"(?P<factor>[\d.,]+)[eE](?P<exponent>[+-]?\d+)")
TWICE = re.compile(r"(?:\\text\{)?\s*([a-zA-Z][a-zA-Z-]+|[\d.,]+)\s*\(([a-zA-Z][a-zA-Z-]+|[\d.,]+)\)\s*\}?")  # five (5)
WRAPPED = re.compile(r"\\text\{([^{}]*)\}")
BASED = re.compile(r"(?:\\text\{\s*)?([0-9A-Za-z]+)\s*\}?_\s*(?:\{\s*(\d+)\s*\}|(\d+))")


def exact(text: str) -> Fraction | None:
    """The value of tidy text that is just a number; None for anything else."""
    text = text.strip()
    if not text or len(text) > MAX_CHARACTERS:
        return None
    if re.search("[a-zA-Z]{3}", text) and (value := spelled(WRAPPED.sub(r"\1", text))) is not None:
        return value
    if text[0] in "+-":
        value = exact(text[1:]) if text[1:].lstrip()[:1] not in ("", "+", "-") else None
        return -value if value is not None and text[0] == "-" else value
    if text[0] in "({[" and "," not in text and closer(text, 0) == len(text) - 1:
        return exact(text[1:-1]) if text[0] != "[" or text[1:-1].strip().isdigit() else None  # [2.5] may be a floor
    if match := TWICE.fullmatch(text):
        values = exact(match[1]), exact(match[2])
        return values[0] if values[0] == values[1] and match[1].isalpha() != match[2].isalpha() else None
    first, _, last = text.rpartition(" ")
    if multiple := MULTIPLES.get(last) or MULTIPLES.get(last.removesuffix("s")):
        value = exact(first)
        return None if value is None else value * multiple
    return next((value for read in (_decimal, _fraction, _mixed, _power) if (value := read(text)) is not None), None)


def in_base(text: str) -> tuple[str, int, int] | None:
    """Digits, base and value of tidy text such as `1011_2`; None for anything else."""
    match = BASED.fullmatch(text.strip())
    if not match or len(text) > MAX_CHARACTERS or re.fullmatch("[a-z]+|[A-Z]", match[1]):  # a_2 is not a number
        return None
    digits, base = match[1].upper().lstrip("0") or "0", int((match[2] or match[3])[:4])
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return digits, base, int(digits, base)


def _decimal(text: str) -> Fraction | None:
    match = DECIMAL.fullmatch(text)
    if not match or (match["whole"] is None and not match["decimals"] and not match["period"]):
        return None
    whole, decimals = re.sub("[ ,_'.]", "", match["whole"] or "0"), match["decimals"] or ""
    period = match["period"] or match["digit"] or ""
    if period and match["decimals"] is None:
        return None
    if match["dots"]:
        decimals, period = _repeating(decimals)
        if not period:
            return None
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    if period:
        value += Fraction(int(period), 10 ** len(decimals) * (10 ** len(period) - 1))
    return value


def _repeating(decimals: str) -> tuple[str, str]:
    """The decimals before the period, and the period, of `0.1666...`, which is written twice, one digit thrice."""
    for length in range(1, len(decimals) // 2 + 1):
        period, times = decimals[-length:], 3 if length == 1 else 2
        if decimals.endswith(period * times):
            before = decimals
            while before.endswith(period):
                before = before[:-length]
            return before, period
    return decimals, ""


def _fraction(text: str) -> Fraction | None:
    if match := FRACTION.fullmatch(text):
        over, under = match[1] or match[2], match[3] or match[4]
    elif match := SLASHED.fullmatch(text):
        over, under = match[1], match[2]
    else:
        return None
    above, below = exact(over), exact(under)
    return above / below if above is not None and below else None


def _mixed(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d+)\s*(\\frac.*)|(\d+)\s+(\d+\s*/\s*\d+)", text)
    part = _fraction(match[2] or match[4]) if match else None
    return int(match[1] or match[3]) + part if match and part is not None and 0 <= part < 1 else None


def _power(text: str) -> Fraction | None:
    if match := POWER.fullmatch(text):
        factor, exponent = match["factor"] or "1", match["braced"] or match["bare"]
    elif match := EXPONENT.fullmatch(text):
        factor, exponent = match["factor"], match["exponent"]
    else:
        return None
    value = _decimal(factor)
    if value is None or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return value * Fraction(10) ** int(exponent)
