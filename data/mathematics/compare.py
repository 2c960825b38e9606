"""Whether an answer says the same as a gold answer.

What is written is taken apart into its outermost form (words, a list, a set, a tuple or interval, a matrix, a value
with its unit), and the parts are compared by the rules of that form:

- a list (`1, 2`, `1 and 2`, `\\pm 3`) and a set have no order, a tuple and an interval have; a list counts repeats;
- the name in front of a value (`x = 5`, `x \\in [0, 1]`) may be left out, or be the same;
- `50\\%` is 50 as well as 0.5; a unit may be left out, but not be another; a number to a base may leave out the base;
- a value is exact: 0.33 is not 1/3, and 3.14 is not pi;
- words and letters of a choice are the same whatever their case and punctuation.

Formulas that are left are for `data.mathematics.symbolic`.
"""

import re

from data.mathematics import forms
from data.mathematics.brackets import split
from data.mathematics.notation import plain, tidy
from data.mathematics.numbers import exact, in_base
from data.mathematics.symbolic import parses, same_formula
from data.mathematics.units import take_unit

MAX_PARTS = 30
LETTERED = re.compile(r"\(?([A-Z])[).:]\s")


def same(gold: str, answer: str) -> bool:
    """Whether two answers as they are written say the same. May take for ever: call it in a worker."""
    return _same(tidy(gold), forms.not_rounded(tidy(answer)))


def readable(gold: str) -> bool:
    """Whether a gold answer can be compared with anything at all: words, or formulas that parse."""
    gold = tidy(gold)
    if not gold:
        return False
    if gold == "..." or forms.words(gold) or forms.ratio(gold) or forms.CLOCK.fullmatch(gold):
        return True
    if rows := forms.matrix(gold):
        return all(readable(cell) for row in rows for cell in row)
    if parts := forms.parts(gold):
        return all(map(readable, parts))
    if bracketed := forms.bracketed(gold):
        return all(map(readable, bracketed[1]))
    if named := forms.named(gold):
        return readable(named[1])
    value, _ = take_unit(gold, letters=False)
    return exact(value) is not None or in_base(value) is not None or parses(value)


def _same(gold: str, answer: str) -> bool:
    if not gold or not answer:
        return False
    if gold == answer:
        return True
    for compare in (_as_words, _as_digits, _as_ratio, _as_parts, _as_statement, _as_brackets, _as_matrix):
        verdict = compare(gold, answer)
        if verdict is not None:
            return verdict
    return _as_values(gold, answer)


def _as_words(gold: str, answer: str) -> bool | None:
    wanted, given = forms.words(gold), forms.words(answer)
    if wanted is None:
        return False if given else None
    lists = [split(plain(text), ",") for text in (gold, answer)]
    if len(lists[0]) > 1:
        return _same_parts(lists[0], lists[1], as_sets=False)
    lettered = LETTERED.match(plain(answer))  # B) 42
    return wanted in (given, forms.letters(answer), lettered and lettered[1].lower())


def _as_digits(gold: str, answer: str) -> bool | None:
    """Numbers to a base. Where the gold answer has one, that is what was asked for."""
    wanted, given = in_base(gold), in_base(answer)
    if wanted:
        return given[:2] == wanted[:2] if given else answer.upper().lstrip("0") == wanted[0]
    return exact(gold) == given[2] if given else None


def _as_ratio(gold: str, answer: str) -> bool | None:
    """Ratios such as 2:3, which is also 4:6 and 2/3; and times of day, which are not."""
    if ":" not in gold and ":" not in answer:
        return None
    if forms.CLOCK.fullmatch(plain(gold)):
        return forms.letters(gold) == forms.letters(answer)
    wanted, given = forms.ratio(gold), forms.ratio(answer)
    if wanted is None or given is None or len(wanted) != len(given):
        return False
    return all(a * given[0] == b * wanted[0] for a, b in zip(wanted, given, strict=True))


def _as_parts(gold: str, answer: str) -> bool | None:
    """Lists and sets. One in braces drops repeats, and so does what it is compared with."""
    wanted, given = forms.parts(gold), forms.parts(answer)
    if wanted is None and given is None:
        return None
    bracketed = forms.bracketed(gold)
    if bracketed and bracketed[0] == "()" and given and len(given) == len(bracketed[1]):
        values = forms.by_name(given)  # a point may be given as x = 2, y = 3
        return values is not None and all(map(_same, bracketed[1], values))
    as_sets = forms.braced(gold) is not None or forms.braced(answer) is not None
    return _same_parts(wanted or forms.union(gold), given or forms.union(answer), as_sets)


def _same_parts(wanted: list[str], given: list[str], as_sets: bool) -> bool:
    """Whether parts are the same in any order; each as often, but for sets."""
    if max(len(wanted), len(given)) > MAX_PARTS:
        return False
    if as_sets:
        return all(any(_same(part, other) for other in given) for part in wanted) and all(
            any(_same(part, other) for part in wanted) for other in given
        )
    left = list(given)
    for part in wanted:
        match = next((place for place, other in enumerate(left) if _same(part, other)), None)
        if match is None:
            return False
        left.pop(match)
    return not left


def _as_statement(gold: str, answer: str) -> bool | None:
    """Equations and inequalities, and values with a name in front."""
    wanted, given = forms.named(gold), forms.named(answer)
    if wanted and given and wanted[0] == given[0]:
        return _same(wanted[1], given[1])
    equations = [len(split(text, "=")) > 1 for text in (gold, answer)]
    if all(equations):
        return same_formula(gold, answer)
    if wanted:
        return _same(wanted[1], answer)
    if given:
        return _same(gold, given[1])
    if equations[1]:
        result = forms.worked_out(answer)
        return result is not None and _same(gold, result)
    if forms.RELATION.search(gold) or forms.RELATION.search(answer):
        return same_formula(forms.ascending(gold), forms.ascending(answer))
    return None


def _as_brackets(gold: str, answer: str) -> bool | None:
    """Tuples and intervals, whose brackets and order matter; and unions of intervals."""
    wanted, given = forms.bracketed(gold), forms.bracketed(answer)
    if wanted and given:
        return wanted[0] == given[0] and len(wanted[1]) == len(given[1]) and all(map(_same, wanted[1], given[1]))
    if r"\cup" in gold and r"\cup" in answer:
        return _same_parts(forms.union(gold), forms.union(answer), as_sets=True) or same_formula(gold, answer)
    return None


def _as_matrix(gold: str, answer: str) -> bool | None:
    rows, others = forms.matrix(gold), forms.matrix(answer)
    if rows is None and others is None:
        return None
    if rows is None or others is None or [len(row) for row in rows] != [len(row) for row in others]:
        return False
    return all(_same(a, b) for row, other in zip(rows, others, strict=True) for a, b in zip(row, other, strict=True))


def _as_values(gold: str, answer: str) -> bool:
    """Values with or without a unit."""
    value, unit = take_unit(gold, letters=False)
    given, given_unit = take_unit(answer, letters=unit is not None or exact(value) is not None)
    if unit and given_unit and unit.kind and given_unit.kind:
        if unit.kind != given_unit.kind:
            return False
        if unit.worth != given_unit.worth:
            wanted, found = exact(value), exact(given)
            return wanted is not None and found is not None and wanted * unit.worth == found * given_unit.worth
    angles = [found is not None and found.kind == ("angle", 1) for found in (unit, given_unit)]
    if angles[0] != angles[1] and r"\pi" in gold + answer:
        degrees, other = (value, given) if angles[0] else (given, value)
        return same_formula(rf"\frac{{\pi}}{{180}} \cdot {degrees}", other)
    shares = [found is not None and found.kind == ("share", 1) for found in (unit, given_unit)]
    if shares[0] != shares[1]:  # 50% is 0.5, and an answer of 50 where the problem asks for a percentage
        share, other = (value, given) if shares[0] else (given, value)
        return _same_value(share, other) or _same_hundredth(share, other)
    return _same_value(value, given)


def _same_value(gold: str, answer: str) -> bool:
    wanted, given = exact(gold), exact(answer)
    return wanted == given if wanted is not None and given is not None else same_formula(gold, answer)


def _same_hundredth(share: str, other: str) -> bool:
    part, given = exact(share), exact(other)
    if part is not None and given is not None:
        return part == given * 100
    return same_formula(rf"\frac{{{share}}}{{100}}", other)
