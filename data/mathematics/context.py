r"""What stands around a box and changes it: `-\boxed{5}`, `\boxed{5}/3`, `\boxed{5}` million, not `\boxed{5}`.

A box that is part of a larger formula is no final answer, and neither is one that the text takes back. A unit or a
multiple right behind the box belongs to the answer.
"""

import re

from data.mathematics.number_words import DENOMINATORS, MULTIPLES
from data.mathematics.unit_table import lookup

REACH = 80  # characters to either side that can change what a box says
NEGATION = (
    r"(?:\b(?:not|cannot|never|neither|nor|except|wrongly)\b|n['’]t\b|\b(?:other|rather) than\b|\binstead of\b"
    r"|\banything but\b|\\(?:not|neg|lnot|neq?)(?![a-zA-Z]))"
)
NEGATED = re.compile(
    NEGATION + r"[\s$*:]*(?:(?:be|is|equal|to|the|answer|a|an|simply|just)[\s$*:]+){0,3}$", re.IGNORECASE
)
TAKEN_BACK = re.compile(
    r"[\s$*).,]*(?:\(\s*)?(?:(?:is|was|would be|which is)\s+)(?:not\b|n['’]t|wrong|incorrect|false|impossible)"
    r"|[\s$*)]*(?:isn['’]t|wasn['’]t|cannot|can['’]t)\b",
    re.IGNORECASE,
)
HEDGE = re.compile(r"[\s$*)]*,?\s*or\s+(?:maybe\s+|perhaps\s+)?\$?\\?[-(]?[\d\\](?!boxed|fbox)")
OPERATOR_BEFORE = re.compile(
    r"(?:\\(?:cdot|times|div|pm|mp|neg|lnot|neq?|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|bmod|mod|circ)\s*"
    r"|[/^_+]\s*|[\d)\]]\s*[*-]\s*|(?<![\w\s*-])-\s?|^-|\d)$"
)
OPERATOR_IN_FORMULA = re.compile(r"(?:[-+*/^_\d)|]|(?<![a-zA-Z\\])[a-zA-Z])\s*$")
HOLDER = re.compile(r"(\\[a-zA-Z]+|[\^_])\s*(?:\[[^\[\]]*\])?\s*(?:\{[^{}]*\}\s*)?\{\s*$")
HARMLESS = re.compile(r"\\(?:text|math|display|underline|color|begin|bm|boldsymbol|[lL]arge|huge|mbox|hbox|f?boxe?d?)")
OPERATOR_BEHIND = re.compile(
    r"\s*(?:\\(?:cdot|times|div|pm|mp|bmod)(?![a-zA-Z])|[/^+]|\*\s*\d|[a-zA-Z\d](?![a-zA-Z])|-\s?[\d\\])"
)
BEHIND = re.compile(
    r"((?:\s*(?:\\text|\\mathrm|\\mbox)\s*\{[^{}]*\}|\s*\\?%|\s*\^\s*\{?\s*(?:\\circ|2|3)\s*\}?|\s*°)+)"
)
WORD = re.compile(r"[\s$*~]*(?:\\\))?[\s-]*([a-zA-Z]+)")
SHORT = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "lb", "lbs", "hr", "mi"}  # not `in`, which is a word as well


def is_taken_back(text: str, start: int, end: int) -> bool:
    """Whether the text around the box says that its content is not the answer."""
    line = text[max(0, start - REACH) : start].rpartition("\n")[2]
    return bool(NEGATED.search(re.sub(r"\\\(|\\\[", "", line)) or TAKEN_BACK.match(_line_behind(text, end)))


def is_hedged(text: str, end: int) -> bool:
    """Whether the text goes on with another answer that stands in no box: `\\boxed{5}` or 6."""
    return bool(HEDGE.match(_line_behind(text, end)))


def is_part(text: str, start: int, end: int) -> bool:
    """Whether the box is one term, factor or argument of a larger formula."""
    line = text[max(0, start - REACH) : start].rpartition("\n")[2]
    rest = _line_behind(text, end)
    if holder := HOLDER.search(line):
        return not HARMLESS.match(holder[1])
    line = re.sub(r"(?:\s|\\[,;:! ]|\\q?quad)+$", lambda match: " " if match[0] else "", line)
    if _in_formula(text, start):
        before = re.sub(r"\\text\s*\{[^{}]*\}\s*$|\\[a-zA-Z]+\s*$", _operators_only, line)
        if OPERATOR_IN_FORMULA.search(before) or OPERATOR_BEFORE.search(before):
            return True
        return bool(OPERATOR_BEHIND.match(rest))
    before = line.lstrip(" ")
    if re.fullmatch(r"(?:[-*+>]|\d+[.)])\s+(?:\*\*)?", before):  # an item of a list
        return False
    return bool(OPERATOR_BEFORE.search(before) or (rest[:1] not in ("", " ") and OPERATOR_BEHIND.match(rest))) or bool(
        re.match(r"\s*(?:\\(?:cdot|times|div)(?![a-zA-Z])|[/^*+]\s*[\d\\]|-\s*\d)", rest)
    )


def unit_behind(text: str, end: int) -> str:
    """The unit, multiple or denominator behind a box, as it would stand in it; empty where there is none."""
    rest = _line_behind(text, end)
    if match := BEHIND.match(rest):
        word = re.search(r"[a-zA-Z]+", re.sub(r"\\[a-zA-Z]+", "", match[1]))
        return match[1] if word is None or "%" in match[1] or _is_telling(word[0]) else ""
    word = WORD.match(rest)
    if not word:
        return ""
    if word[1] in SHORT or (len(word[1]) > 2 and _is_telling(word[1])):
        return rf"\text{{ {word[1]}}}"
    return ""


def _is_telling(word: str) -> bool:
    singular = word.lower().removesuffix("s")
    return singular in MULTIPLES or singular in DENOMINATORS or word in DENOMINATORS or lookup(word) is not None


def _operators_only(match: re.Match[str]) -> str:
    """Nothing of words and arrows in front of a box; operators stay."""
    return match[0] if OPERATOR_BEFORE.search(match[0]) else ""


def _in_formula(text: str, place: int) -> bool:
    """Whether a formula between dollar signs or the like is open."""
    before = text[text.rfind("\n\n", 0, place) + 1 : place]
    dollars = len(re.findall(r"(?<!\\)\$\$?", before)) % 2 == 1
    opened = max(before.rfind(r"\("), before.rfind(r"\["))
    return dollars or opened > max(before.rfind(r"\)"), before.rfind(r"\]"))


def _line_behind(text: str, end: int) -> str:
    return text[end : end + REACH].partition("\n")[0]
