"""Roman numerals of two or more letters. One letter alone may be a variable, and is none."""

import re

NUMERAL = re.compile(r"(?=..)(M{0,3})(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
WORTH = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman(text: str) -> int | None:
    """The value of `XIV`; None for anything else, also for `IIII`."""
    if not NUMERAL.fullmatch(text):
        return None
    worths = [WORTH[letter] for letter in text]
    return sum(-worth if worth < behind else worth for worth, behind in zip(worths, [*worths[1:], 0], strict=True))
