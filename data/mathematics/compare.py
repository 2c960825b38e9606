r"""Whether an answer means the same as a gold answer.

Both are split by their outermost form (words, a list, a set, a point, a tuple or interval, a matrix, a value with its
unit), and the parts are compared by the rules of that form:

- a list (`1, 2`, `1 and 2`, `\pm 3`) and a set have no order, a tuple and an interval have; a list counts repeats; the
  braces of a set may be left out, but not those of a set in a set;
- the name before a value (`x = 5`, `x \in [0, 1]`) must be the same where both have one;
- `50\%` is 50 as well as 0.5; a unit may be omitted, but must not differ; a base may be omitted, and so may a domain;
- `1.5k` is 1500 where the gold answer is a number, for beside a formula `k` is a variable;
- a value is exact: 0.33 is not 1/3, and 3.14 is not pi;
- words and letters of a choice are the same whatever their case and punctuation;
- an answer must be a value where the gold answer is one (`data.mathematics.value`), and a calculation (`3 + 4 = 7`)
  must be true.

Except for the base, `1.5k` and the last rule, swapping gold and answer does not change the verdict. The remaining
formulas go to `data.mathematics.symbolic`, unless they are too large (`data.mathematics.bounds`).
"""

import re

from data.mathematics import forms
from data.mathematics.bounds import affordable
from data.mathematics.brackets import split
from data.mathematics.choices import behind_letter, choice, decided, same_choices
from data.mathematics.clock import date, is_time, same_time
from data.mathematics.congruences import congruence
from data.mathematics.environments import pieces
from data.mathematics.functions import CALL, same_arguments, without_domain
from data.mathematics.notation import plain, tidy
from data.mathematics.numbers.plain import exact, in_base
from data.mathematics.numbers.roman import roman
from data.mathematics.points import paired
from data.mathematics.sentences import stated
from data.mathematics.symbolic import parses, same_formula, same_inequality, same_progression
from data.mathematics.units.quantities import amount, quantity_sum, same_formula_of_value, same_quantity
from data.mathematics.units.units import take_unit

MAX_PARTS = 30
SEGMENT = re.compile("[CDLM]{2}")
TOTAL = re.compile(r"(?!.*([a-z]).*\1.*=)[a-z](?:\s*\+\s*[a-z])+\s*=([^=]+)")  # of different letters
NAMES = re.compile(r"(?<=[a-zA-Z]),?\s+and\s+(?=[a-zA-Z])")  # Alice and Bob; of hours and minutes, the order counts
THOUSANDS, LETTERS = re.compile(r"^(-?\d[\d,]*(?:\.\d+)?)([kKM])$"), {"K": "thousand", "M": "million"}


def same(gold: str, answer: str) -> bool:
    """Whether two answers, as written, mean the same. May take for ever: call it in a worker."""
    gold, answer = (
        forms.conjoined(forms.outside_bounds(text)) for text in (tidy(gold), forms.not_rounded(tidy(answer)))
    )
    (gold, free), (answer, also_free) = forms.free_integer(gold), forms.free_integer(answer)
    if exact(take_unit(gold)[0]) is not None:
        answer = THOUSANDS.sub(lambda match: f"{match[1]} {LETTERS[match[2].upper()]}", answer)
    return (
        _same(gold, forms.with_constant(gold, answer))
        or _same_on_domain(gold, answer)
        or (free and also_free and _same_progression(gold, answer))
    )


def _same_on_domain(gold: str, answer: str) -> bool:
    """Whether formulas are the same, at least one with a stated domain; the domains, where both are stated."""
    (formula, domain), (other, also) = without_domain(gold), without_domain(answer)
    return bool(domain or also) and _same(formula, other) and (not (domain and also) or _same(domain, also))


def _same_progression(gold: str, answer: str) -> bool:
    """Whether `a + kb` runs through the same numbers, for every whole k."""
    (_, gold), (_, answer) = (forms.named(text) or ("", text) for text in (gold, answer))
    return affordable(answer, gold) and same_progression(gold, answer)


def readable(gold: str) -> bool:
    """Whether a gold answer can be compared at all: it is words, or formulas that parse."""
    gold, _ = forms.free_integer(tidy(gold))
    if not gold:
        return False
    if forms.words(gold) or forms.ratio(gold) or is_time(gold) or quantity_sum(gold):
        return True
    if rows := forms.matrix(gold):
        return all(readable(cell) for row in rows for cell in row)
    if cases := pieces(gold):
        return all(readable(formula) for formula, _ in cases)
    if parts := forms.parts(gold):
        return all(part == "..." or readable(part) for part in parts)
    if bracketed := forms.bracketed(gold):
        return all(map(readable, bracketed[1]))
    if pair := forms.named(gold):
        return readable(pair[1])
    value, _ = take_unit(gold, letters=False)
    return exact(value) is not None or in_base(value) is not None or parses(value)


def _same(gold: str, answer: str) -> bool:
    if not gold or not answer:
        return False
    if gold == answer:
        return True
    for compare in FORMS:
        verdict = compare(gold, answer)
        if verdict is not None:
            return verdict
    return same_quantity(gold, answer)


def _as_numbers(gold: str, answer: str) -> bool | None:
    gold_value, value = exact(gold), exact(answer)
    return None if gold_value is None or value is None else gold_value == value


def _as_roman(gold: str, answer: str) -> bool | None:
    """Roman numerals, beside each other, a number, or the same letters in another order. CD is a segment as well."""
    texts = plain(gold), plain(answer)
    numerals = [roman(text) for text in texts]
    if not any(numerals) or all(SEGMENT.fullmatch(text) for text in texts):
        return None
    if all(re.fullmatch(r"(?:[IVXLCDM ]|\\cdot)+", text) for text in texts):
        return numerals[0] == numerals[1]
    values = [numeral or exact(text) for numeral, text in zip(numerals, texts, strict=True)]
    return None if None in values else values[0] == values[1]


def _as_sentence(gold: str, answer: str) -> bool | None:
    """A sentence beside the number that it states."""
    numbers = [stated(text) for text in (gold, answer)]
    if all(numbers) or not any(numbers):
        return None
    return _same(numbers[0] or gold, numbers[1] or answer)


def _as_congruence(gold: str, answer: str) -> bool | None:
    """Residue classes of a name."""
    classes = [congruence(forms.joined(text)) for text in (gold, answer)]
    return classes[0] == classes[1] if all(classes) else None


def _as_times(gold: str, answer: str) -> bool | None:
    """Times of day, and dates."""
    times = [plain(text) for text in (gold, answer)]
    dates = [date(text) for text in times]
    if all(dates):
        return dates[0] == dates[1]
    return same_time(*times) if all(map(is_time, times)) else None


def _as_sums(gold: str, answer: str) -> bool | None:
    """Quantities of two units, such as 2 hours 30 minutes, which are 150 minutes and 2.5 hours."""
    sums = [quantity_sum(text) for text in (gold, answer)]
    if not any(sums):
        return None
    amounts = [total or amount(text) for total, text in zip(sums, (gold, answer), strict=True)]
    return amounts[0] == amounts[1] if all(amounts) else None


def _as_words(gold: str, answer: str) -> bool | None:
    gold_words, words = forms.words(gold), forms.words(answer)
    decisions = [decided(text) for text in (gold, answer)]
    if {gold_words, words} & {"yes", "no"} and all(decisions):
        return decisions[0] == decisions[1]
    choices = [choice(text) for text in (gold, answer)]
    if all(choices):
        values = [behind_letter(text) for text in (gold, answer)]
        return choices[0] == choices[1] and (not all(values) or _same(*values))
    if (value := behind_letter(gold)) and not choices[1]:
        return _same(value, answer)
    if (value := behind_letter(answer)) and not choices[0]:
        return _same(gold, value)
    lists = [split(NAMES.sub(",", plain(text)), ",") for text in (gold, answer)]
    if (gold_words or words) and min(map(len, lists)) > 1:
        return _same_parts(lists[0], lists[1], as_sets=False)
    if gold_words is None:
        return False if words else None
    return gold_words in (words, forms.letters(answer))


def _as_digits(gold: str, answer: str) -> bool | None:
    """Numbers to a base. The gold answer's base is the one that the problem asks for."""
    gold_number, number = in_base(gold), in_base(answer)
    if gold_number:
        return number[:2] == gold_number[:2] if number else answer.upper().lstrip("0") == gold_number[0]
    return exact(gold) == number[2] if number else None


def _as_ratio(gold: str, answer: str) -> bool | None:
    """Ratios such as 2:3, which is also 4:6 and 2/3; and times of day, which are not."""
    if ":" not in gold and ":" not in answer:
        return None
    gold_terms, terms = forms.ratio(gold), forms.ratio(answer)
    if gold_terms is None or terms is None or len(gold_terms) != len(terms):
        return False
    return all(a * terms[0] == b * gold_terms[0] for a, b in zip(gold_terms, terms, strict=True))


def _as_point(gold: str, answer: str) -> bool | None:
    """Points and solutions of several unknowns, where at least one side names them."""
    pairs = paired(gold, answer)
    return pairs if pairs is None or isinstance(pairs, bool) else all(_same(a, b) for a, b in pairs)


def _as_parts(gold: str, answer: str) -> bool | None:
    """Lists and sets. Braces drop repeats, on both sides."""
    names = [forms.named(text) for text in (gold, answer)]
    if not (names[0] and names[1] and names[0][0] != names[1][0]):
        gold, answer = (
            name[1] if name and forms.braced(name[1]) else text
            for name, text in zip(names, (gold, answer), strict=True)
        )
    gold_parts, answer_parts = forms.parts(gold), forms.parts(answer)
    if gold_parts is None and answer_parts is None:
        return None
    sets = [forms.elements(text) is not None for text in (gold, answer)]
    if sets[0] != sets[1] and any(map(forms.braced, (answer_parts if sets[0] else gold_parts) or [])):
        return False  # the set of {1} and {2} is not a list of two sets
    parts = [forms.union(text) if side is None else side for side, text in ((gold_parts, gold), (answer_parts, answer))]
    return _same_parts(parts[0], parts[1], as_sets=any(sets))


def _same_parts(gold: list[str], answer: list[str], as_sets: bool) -> bool:
    """Whether parts are the same in any order. Repeats count, except in sets."""
    if max(len(gold), len(answer)) > MAX_PARTS or (not as_sets and len(gold) != len(answer)):
        return False
    if as_sets:
        return all(any(_same_part(part, other) for other in answer) for part in gold) and all(
            any(_same_part(part, other) for part in gold) for other in answer
        )
    rest = list(answer)
    for part in gold:
        match = next((place for place, other in enumerate(rest) if _same_part(part, other)), None)
        if match is None:
            return False
        rest.pop(match)
    return not rest


def _same_part(gold: str, answer: str) -> bool:
    """Whether elements are the same: {1} is not 1, where both are elements."""
    return (forms.braced(gold) is None) == (forms.braced(answer) is None) and _same(gold, answer)


def _as_statement(gold: str, answer: str) -> bool | None:
    """Equations and inequalities, values with a name in front, and calculations with their result."""
    worked_out = forms.calculation(answer)
    if worked_out and not all(_holds(side, worked_out[1]) for side in worked_out[0]):
        return False
    gold_named, answer_named = forms.named(gold), forms.named(answer)
    if gold_named and answer_named and gold_named[0] == answer_named[0]:
        return _same(gold_named[1], answer_named[1])
    if gold_named and answer_named:
        names = gold_named[0], answer_named[0]
        if any(name.startswith(r"\frac") for name in names) or names[0].count("'") != names[1].count("'"):
            return False  # dx/dy is not dy/dx, whatever they equal
        if "y" in names and any(re.fullmatch(r"[a-zA-Z]\([a-z]\)", name) for name in names):
            return _same(gold_named[1], answer_named[1])  # the graph of f(x)
        if all(map(CALL.fullmatch, names)):
            formula = same_arguments(*names, answer_named[1])
            return formula is not None and _same(gold_named[1], formula)
    equations = [len(forms.sides(text)) > 1 for text in (gold, answer)]
    if all(equations):
        return same_formula_of_value(gold, answer)
    if gold_named:
        return _same(gold_named[1], answer)
    if answer_named:
        return _same(gold, answer_named[1])
    if equations[1]:
        if (total := TOTAL.fullmatch(answer)) and exact(gold) is not None:  # m + n = 113
            return _same(gold, total[2])
        return worked_out is not None and _same(gold, worked_out[1])
    if equations[0]:
        result = forms.calculation(gold)
        return result is not None and _same(result[1], answer)
    if forms.RELATION.search(gold) or forms.RELATION.search(answer):
        return _same_chain(gold, answer) or same_formula_of_value(forms.ascending(gold), forms.ascending(answer))
    return None


def _holds(side: str, result: str) -> bool:
    """Whether a side of a calculation equals its result, to the digits that a decimal result shows. True for a side in
    words, which cannot be evaluated.
    """
    side, result = (take_unit(forms.joined(text.replace("$", "")).strip())[0] for text in (side, result))
    value, shown = exact(side), exact(result)
    if value is not None and shown is not None:
        places = len(result.partition(".")[2])
        return value == shown or (places > 0 and 2 * abs(value - shown) * 10**places <= 1)
    if "\\text" in side or not parses(result):
        return True
    if not affordable(side, ""):
        return False
    if not parses(side):
        return True
    rounded = shown is not None and "." in result
    return same_formula(result, side) or (rounded and same_formula("0", rf"\lfloor 2 \cdot ({side}) \rfloor - 2"))


def _same_chain(gold: str, answer: str) -> bool:
    """Chains of inequalities whose links are multiples of each other: 2x > 6 is x > 3."""
    gold_links, links = forms.chain(gold), forms.chain(answer)
    if not gold_links or not links or len(gold_links) != len(links) or not affordable(answer, gold):
        return False
    return all(
        a[1] == b[1] and same_inequality((a[0], a[2]), (b[0], b[2])) for a, b in zip(gold_links, links, strict=True)
    )


def _as_brackets(gold: str, answer: str) -> bool | None:
    """Tuples and intervals, whose brackets and order matter; and unions of intervals."""
    gold_form, form = forms.bracketed(gold), forms.bracketed(answer)
    if gold_form and form:
        if (label := forms.label(gold)) and forms.label(answer) not in ("", label):
            return False  # N(0, 1) is not U(0, 1)
        return gold_form[0] == form[0] and len(gold_form[1]) == len(form[1]) and all(map(_same, gold_form[1], form[1]))
    if r"\cup" in gold and r"\cup" in answer:
        return _same_parts(forms.union(gold), forms.union(answer), as_sets=True) or same_formula_of_value(gold, answer)
    return None


def _as_matrix(gold: str, answer: str) -> bool | None:
    """Matrices; a point is a column or a row."""
    rows, others = forms.matrix(gold), forms.matrix(answer)
    if rows is None and others is None:
        return None
    if any(side is None and "matrix}" in text for side, text in ((rows, gold), (others, answer))):
        return same_formula_of_value(gold, answer)  # a multiple of one
    rows = rows or forms.vector(gold, others or [])
    others = others or forms.vector(answer, rows or [])
    if rows is None or others is None or [len(row) for row in rows] != [len(row) for row in others]:
        return False
    return all(_same(a, b) for row, other in zip(rows, others, strict=True) for a, b in zip(row, other, strict=True))


def _as_pieces(gold: str, answer: str) -> bool | None:
    """Functions in cases: the same formulas under the same conditions, in any order; `otherwise` may be any of them."""
    (name, gold), (other, answer) = (forms.named(text) or ("", text) for text in (gold, answer))
    gold_pieces, answer_pieces = pieces(gold), pieces(same_arguments(name, other, answer) or answer)
    if gold_pieces is None and answer_pieces is None:
        return None
    if gold_pieces is None or answer_pieces is None or len(gold_pieces) != len(answer_pieces):
        return False
    rest = list(answer_pieces)
    for formula, condition in gold_pieces:
        match = next((row for row in rest if _same(formula, row[0]) and _same_condition(condition, row[1])), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _same_condition(gold: str, answer: str) -> bool:
    return "otherwise" in (gold, answer) or _same(gold, answer)


FORMS = (
    _as_numbers, _as_roman, _as_sums, _as_times, _as_sentence, same_choices, _as_words, _as_digits, _as_ratio,
    _as_pieces, _as_congruence, _as_point, _as_parts, _as_statement, _as_brackets, _as_matrix,
)  # fmt: skip
