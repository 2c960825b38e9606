"""The value of a number in words: `twenty-one`, `five eighths`, `two and a half`, `5 lakh`, `negative five`.

number   = ["negative" | "minus"] (whole ["and" fraction] | fraction)
fraction = (whole | "a" | "an") denominator
whole    = sums of digits, units, tens and multiples, as in `three hundred and forty-five`, `a dozen`
ordinal  = ["the"] [tens] `first` to `nineteenth`, as in `fifth`, `twenty-first`; or tens alone, as in `twentieth`

Alone, `half` and `quarter` are fractions, and every other denominator is an ordinal: `fifth` is 5, `a fifth` is 1/5.
"""

import re
from fractions import Fraction

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SMALL = {word: number for number, word in enumerate(ONES)} | {word: 20 + 10 * n for n, word in enumerate(TENS)}
MULTIPLES = {
    "dozen": 12, "score": 20, "hundred": 100, "gross": 144, "thousand": 10**3, "myriad": 10**4, "lakh": 10**5,
    "million": 10**6, "crore": 10**7, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "quintillion": 10**18, "googol": 10**100,
}  # fmt: skip
DENOMINATORS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15,
    "sixteenth": 16, "twentieth": 20, "hundredth": 100, "thousandth": 1000, "millionth": 10**6,
}  # fmt: skip
FIRST = {"first": 1, "second": 2, "third": 3} | {
    name: number for name, number in DENOMINATORS.items() if 4 <= number < 20 and name != "quarter"
}
FIRST |= {"seventeenth": 17, "eighteenth": 18, "nineteenth": 19}
TENTHS = {f"{word[:-1]}ieth": 20 + 10 * number for number, word in enumerate(TENS)}
MAX_WORDS = 16
DIGITS = re.compile(r"\d{1,12}(?:\.\d{1,12})?")


def spelled(text: str) -> Fraction | None:
    """The value of a number that has at least one word; None for anything else."""
    words = text.lower().replace("-", " ").split() if re.fullmatch(r"\w[\w\s./,-]*", text) else []
    if not 0 < len(words) <= MAX_WORDS or not any(word.isalpha() for word in words):
        return None
    if words[0] in ("negative", "minus"):
        value = _unsigned(words[1:])
        return None if value is None else -value
    place = _ordinal(text.lower().strip().removeprefix("the ").strip())
    return _unsigned(words) if place is None else Fraction(place)


def _ordinal(text: str) -> int | None:
    """The place that `fifth` or `twenty-first` names. With a space, `thirty second` may be a time, and is none."""
    tens, hyphen, ones = text.rpartition("-")
    if not hyphen:
        return FIRST.get(ones) or TENTHS.get(ones)
    place = FIRST.get(ones, 10)
    return SMALL[tens] + place if tens in TENS and place < 10 else None


def _unsigned(words: list[str]) -> Fraction | None:
    for place in range(len(words)):  # two and a half
        if words[place] == "and" and place > 0:
            whole, part = _whole(words[:place]), _part(words[place + 1 :])
            if whole is not None and part is not None and part < 1 and whole.denominator == 1:
                return whole + part
    if words in (["half"], ["quarter"]):
        return Fraction(1, DENOMINATORS[words[0]])
    part = _part(words)
    return part if part is not None else _whole(words)


def _part(words: list[str]) -> Fraction | None:
    """`five eighths`, `a half`, `1/2`."""
    if len(words) == 1 and (match := re.fullmatch(r"(\d{1,9})/(\d{1,9})", words[0])) and int(match[2]):
        return Fraction(int(match[1]), int(match[2]))
    if len(words) < 2:
        return None
    below = DENOMINATORS.get(words[-1]) or DENOMINATORS.get(words[-1].removesuffix("s"))
    above = Fraction(1) if words[:-1] in (["a"], ["an"]) else _whole(words[:-1])
    return above / below if below and above is not None else None


def _whole(words: list[str]) -> Fraction | None:
    """Digits and words that add up; each multiple applies to the words before it."""
    total, group, last = Fraction(0), Fraction(0), ""  # last: the kind of the word before
    if len(words) > 1 and words[0] in ("a", "an") and words[1] in MULTIPLES:
        words = ["one", *words[1:]]
    for word in words:
        multiple = MULTIPLES.get(word) or MULTIPLES.get(word.removesuffix("s"))
        if word in SMALL or DIGITS.fullmatch(word):
            value = Fraction(SMALL.get(word, word))
            if last == "small" or (last == "tens" and not 0 < value < 10):
                return None
            group += value
            last = "tens" if word in TENS else "small"
        elif multiple and last:
            if multiple == 100:
                group *= multiple
            else:
                total, group = total + group * multiple, Fraction(0)
            last = "multiple"
        elif word == "and" and last == "multiple":
            continue
        else:
            return None
    return total + group if last else None
