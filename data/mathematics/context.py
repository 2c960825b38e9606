r"""The text around a box that changes its meaning: `-\boxed{5}`, `\boxed{5}/3`, `\boxed{5}` million, not `\boxed{5}`.

A box that is part of a larger formula is no final answer. Neither is a box that the text retracts, turns into a bound
(at least `\boxed{5}`), or calculates with in words (twice `\boxed{5}`). A unit or a multiple right behind the box
belongs to the answer.
"""

import re

from data.mathematics.numbers.words import DENOMINATORS, MULTIPLES, ONES
from data.mathematics.units.unit_table import lookup

REACH = 80  # characters to either side that can change the meaning of a box
NEGATION = (
    r"(?:\b(?:not|cannot|never|neither|nor|except|wrongly)\b|n['’]t\b|\b(?:other|rather) than\b|\binstead of\b"
    r"|\banything but\b|\\(?:not|neg|lnot|neq?)(?![a-zA-Z]))"
)
NOT_OF = r"(?<!of )(?<!of a )(?<!of an )(?<!of the )"  # the chance of a wrong answer
WRONG = r"\b(?:wrong|incorrect|false|impossible|mistaken|untrue|doubt|doubtful)\b"
NEGATED = re.compile(
    NEGATION + r"[\s$*:]*(?:(?:be|is|equal|to|the|answer|a|an|simply|just)[\s$*:]+){0,3}$"
    rf"|{NOT_OF}{WRONG}[\s$*:]+(?:(?:that|it|is|to|say|the|answer|result|solution|value|final|would|be|x|=)[\s$*:]+)+$"
    rf"|{WRONG}\s*:[\s$*]*$"
    r"|\b(?:(?:if|unless)\s+(?:(?:the|our|my)\s+)?(?:answer|result|it)|unless\s+\$?[a-zA-Z])"
    r"\s*(?:is|was|were|=|equals)[\s$*]*$",
    re.IGNORECASE,
)
TAKEN_BACK = re.compile(
    r"[\s$]*\\(?:neq?|not)(?![a-zA-Z])|[\s$]*≠|[\s$*).,]*(?:\(\s*)?(?:is|was|would be|which is|seems|looks)\s+"
    rf"(?:not\b|n['’]t|(?:an?\s+|the\s+)?{WRONG})"
    r"|[\s$*).,;!?]*(?:but\s+)?(?:that|this|it)(?:\s+(?:is|was)|['’]s)\s+"
    rf"(?:an?\s+|the\s+)?(?:{WRONG}|not\s+(?:right|correct|true|the\b))"
    r"|[\s$*)]*(?:isn['’]t|wasn['’]t|cannot|can['’]t|fails|failed|(?:does|did|do)(?:n['’]t|\s+not)\s+(?:work|satisfy|fit|hold))\b"
    r"|[\s$*)]*(?:is|was|seems|looks)\s+(?:too\s+\w+|(?:only|just|merely)\s+an?\s+(?:guess|estimate|bound))\b",
    re.IGNORECASE,
)
SECOND_THOUGHT = re.compile(
    r"[\s$*).,;:!?—-]*(?:no\s*[,.!;:—-]|(?:(?:no|oh|but|hm+),?\s*)?wait\b|scratch that|never\s?mind|or rather\b"
    r"|I mean\b|oops\b|correction\b|sorry\b|hold on\b|actually\b[^.\n]{0,40}\d"
    r"|alternatively\b(?![^\n]*=)[^.\n]{0,20}\d)",
    re.IGNORECASE,
)
POLITE = re.compile(r"[\s$*).,;:!?—-]*(?:wait|correction|sorry|hold on|actually)\b", re.IGNORECASE)
OBJECTION = re.compile(
    r"\b(?:no|not|\w+n't|wrong|mistake\w*|error\w*|incorrect|should|instead|rather|must|forgot|missed|re-?\w*(?:comput|calcul)"
    r"|redo|reconsider|again)\b|re-?(?:comput|calcul)",
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
BOUND = re.compile(
    r"(?:\b(?:at\s+(?:least|most)|(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than|up\s+to|between(?:\s+[^\s,;]+\s+and)?"
    r"|about|around|roughly|nearly|almost|close\s+to"
    r"|(?<!game\s)(?<!left\s)(?<!carried\s)over|under"
    r"|exceed(?:s|ing)?)|(?<=\S)\s*(?<![=-])[<>≤≥≠]|\\(?:leq?|geq?|lt|gt|neq?|leqslant|geqslant)(?![a-zA-Z]))"
    r"[\s$*]*$",
    re.IGNORECASE,
)
COUNTED_BEFORE = re.compile(
    r"\b(?:minus|negative|plus|less|times|twice|thrice|double|triple|half|(?:square|cube)\s+root\s+of"
    r"|(?:square|cube|root|reciprocal|inverse|negative|opposite|factorial|logarithm|sine|cosine|tangent|half|third|quarter"
    r"|double|triple|percent|"
    + "|".join(DENOMINATORS)
    + r")s?\s+of|\d\s*(?:\\?%\s*)?of|divided\s+by|multiplied\s+by|to\s+the\s+power(?:\s+of)?)[\s$*]*$",
    re.IGNORECASE,
)
SPANS = (  # over which something is counted: `\boxed{20}` over 3 hours is no quotient
    r"(?:seconds?|minutes?|hours?|days?|nights?|weeks?|weekends?|months?|years?|decades?|rounds?|games?|trips?|turns?|terms?)"
)
COUNTED_BEHIND = re.compile(
    r"[\s$*]*(?:\\\))?\s*(?:squared|cubed|factorial|doubled|tripled|halved|inverted|repeating|recurring"
    r"|divided\s+by|multiplied\s+by|to\s+the\s+power|mod(?:ulo)?\s*\d|(?:times|plus|minus|less|point)\s+\$?(?:[\d\\]|[a-z](?![a-z]))"
    rf"|\\?%\s+of\s+\$?\d|over\s+(?!\d+(?:\.\d+)?\s+{SPANS}\b)\$?(?:[\d\\]|[a-z](?![a-z]))"
    r"|and\s+(?:a\s+half|an?\s+\w+th\b|\d+/\d|\w+\s+\w+ths\b)|or\s+(?:more|less|fewer|so|greater)\b)",
    re.IGNORECASE,
)
FORMULAIC = r"(?:[^()\[\]{}a-zA-Z]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])){0,40}?"  # no words
COMBINED = re.compile(r"\b(?:sum|product|difference|quotient|ratio|average|mean)\s+of[\s$*]*$", re.IGNORECASE)
JOINED = re.compile(r"[\s$*]*(?:\\\))?\s*(?:and|to|with|,)\s+(?:[\d\\]|\$\s?[\w\\])")
ENCLOSED = re.compile(r"(?<!\$ )(?:\\left\s*)?\(\s*$"), re.compile(r"\s*(?:\\right\s*)?\)")
IN_RATIO = re.compile(r"(?:^|\$|\\\()\s*(?:\d+\s*:\s*)+$")
OPENED = re.compile(rf"(?:(?<!\\)[(\[]|\\\{{)\s*({FORMULAIC}[,;]\s*)?$")
CLOSED = re.compile(rf"\s*[,;]{FORMULAIC}\s*(?:\\\}}|[)\]])")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>\s*$")
HEDGE = re.compile(
    r"[\s$*)]*\?(?!\s*Yes\b)|[\s$*)]*,?\s*or\s+(?:maybe\s+|perhaps\s+)?\$?(?:[a-zA-Z]\s*=\s*)?\\?[-(]?[\d\\](?!boxed|fbox)"
)
OPERATOR_BEFORE = re.compile(
    r"(?:\\(?:cdot|times|div|pm|mp|neg|lnot|neq?|sqrt|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|bmod|mod|circ"
    r"|sum|prod|int|lim|max|min|gcd|lcm|det|pi|theta|alpha|beta|gamma|lambda)\s*"
    r"|[/^+]\s*|(?<=[\w)}])_\s*|[\d)\]]\s*[*-]\s*|(?<![\w\s*-])-\s?|^-|\d[.,]?|(?<![a-zA-Z\\])[a-zA-Z]"
    r"|^[^|]*\||\\left\s*\|\s*|\\l?vert\s*|(?<![\w)}$*\].])\.)$"
)
OPERATOR_IN_FORMULA = re.compile(r"(?:[-+*/^_\d)|]|(?<![a-zA-Z\\])[a-zA-Z])\s*$")
BESIDE_FORMULA, BEHIND_FORMULA = (
    re.compile(r"(?:\d|(?<![\s\w*-])-|^-|[/^+])\$\$?\s?$"),
    re.compile(r"\s?\$\$?\s?[/^+*-]\s?\d"),
)
# Between a calculation and its result: `2x = 10 \Rightarrow \boxed{5}`.
RELATION = re.compile(
    r"\\(?:approx(?:eq)?|simeq|cong|equiv|doteq|triangleq|coloneqq|colon|in|to|mapsto|longmapsto|leadsto|therefore"
    r"|implies|iff|(?:[lL]ong)?(?:[rR]ight|[lL]eft|[lL]eftright)arrow|rightsquigarrow)\s*$"
)
IN_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf)?|mathrm|mbox|hbox)\s*\{([^{}]*)\}")
HOLDER = re.compile(r"(\\sqrt)\s*\[\s*$|(\\[a-zA-Z]+|[\^_])\s*(?:\[[^\[\]]*\])?\s*(?:\{[^{}]*\}\s*)?\{\s*$")
HARMLESS = re.compile(r"\\(?:text|math|display|underline|color|begin|bm|boldsymbol|[lL]arge|huge|mbox|hbox|f?boxe?d?)")
OPERATOR_BEHIND = re.compile(
    r"\s*(?:\\(?:cdot|times|div|pm|mp|bmod|pmod|mod|choose|pi|sqrt|[dts]?frac)(?![a-zA-Z])|[/^+]|_\{?(?:\d|\\text)|\*\s*\d|[a-zA-Z\d](?![a-zA-Z])|-\s?[\d\\])"
    r"|[.,:]\d"
)
CHANGED = re.compile(r"!|\s*\\?%\s*\d")
COMPARED = re.compile(r"\s*(?:[<>≤≥]|\\(?:leq?|geq?|lt|gt|leqslant|geqslant)(?![a-zA-Z]))\s*[a-zA-Z](?![a-zA-Z])")
# `x = \boxed{5} > y` and `x = \boxed{5} \ne 0` say more about x, which is 5; without `x =` nothing is said to be 5.
EQUATED, DISTINCT = re.compile(r"=\s*$"), re.compile(r"\s*(?:\\neq?(?![a-zA-Z])|≠)\s*-?\d")
BEHIND = re.compile(
    r"((?:\s*(?:\\text|\\mathrm|\\mbox)\s*\{[^{}]*\}|\s*\\?%|\s*\^\s*\{?\s*(?:\\circ|2|3)\s*\}?|\s*°)+)"
)
BASE = re.compile(rf"[\s$*]*\(?\s*(?:in\s+)?base[\s-]*(\d{{1,2}}|{'|'.join(ONES[2:17])})\b", re.IGNORECASE)
WORD = re.compile(r"[\s$*~]*(?:\\\))?[\s-]*([a-zA-Z]+)")
SHORT = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "lb", "lbs", "hr", "mi"}  # not `in`, which is a word as well


def is_taken_back(text: str, start: int, end: int) -> bool:
    """Whether the text around the box denies that its content is the answer."""
    line, rest = _line_before(text, start), _line_behind(text, end)
    distinct = EQUATED.search(line) and DISTINCT.match(rest)
    return bool(NEGATED.search(line) or (TAKEN_BACK.match(rest) and not distinct))


def is_reconsidered(rest: str, answer: str = "") -> bool:
    """Whether the text behind an answer begins with a second thought: `\\boxed{5}`, no, wait.

    A word of doubt alone does not retract an answer: Wait, yes, 5. An objection does, or a number other than the
    answer.
    """
    if not SECOND_THOUGHT.match(rest):
        return False
    numbers = set(NUMBER.findall(answer))
    polite = numbers and POLITE.match(rest) and not OBJECTION.search(rest)
    return not polite or bool(set(NUMBER.findall(rest)) - numbers)


def is_bound(before: str) -> bool:
    """Whether the text before an answer makes it a bound or a guess, which is no answer: at least 5, about 5, `x > 5`.

    A rounded value is one: approximately 5.
    """
    return bool(BOUND.search(TAG.sub("", IN_TEXT.sub(r"\1", before))))


def is_hedged(text: str, end: int) -> bool:
    """Whether another answer follows without a box: `\\boxed{5}` or 6."""
    return bool(HEDGE.match(_line_behind(text, end)))


def is_part(text: str, start: int, end: int) -> bool:
    """Whether the box is one term, factor or argument of a larger formula."""
    line = _line_before(text, start)
    rest = _line_behind(text, end)
    if holder := HOLDER.search(line):
        return not HARMLESS.match(holder[1] or holder[2])
    if COUNTED_BEFORE.search(line) or COUNTED_BEHIND.match(rest) or _is_bracketed(line, rest):
        return True
    if COMBINED.search(line) and JOINED.match(rest):
        return True
    while (opening := ENCLOSED[0].search(line)) and (closing := ENCLOSED[1].match(rest)):  # 3(\boxed{5})
        line, rest = line[: opening.start()], rest[closing.end() :]
    line = re.sub(r"(?:\s|\\[,;:! ]|\\q?quad)+$", lambda match: " " if match[0] else "", line)
    if BESIDE_FORMULA.search(line) or BEHIND_FORMULA.match(rest):
        return True
    if _in_formula(text, start):
        before = "" if RELATION.search(line) else re.sub(r"\\[a-zA-Z]+\s*$", _operators_only, line)
        if OPERATOR_IN_FORMULA.search(before) or OPERATOR_BEFORE.search(before) or IN_RATIO.search(before):
            return True
        compared = COMPARED.match(rest) and not EQUATED.search(line)
        return bool(OPERATOR_BEHIND.match(rest) or CHANGED.match(rest) or compared)
    before = line.lstrip(" ")
    if re.fullmatch(r"(?:[-*+>]|\d+[.)])\s+(?:\*\*)?", before):  # an item of a list
        return False
    return bool(OPERATOR_BEFORE.search(before) or (rest[:1] not in ("", " ") and OPERATOR_BEHIND.match(rest))) or bool(
        re.match(
            r"\s*(?:\\(?:cdot|times|div|pmod|bmod|mod|pi|sqrt|[dts]?frac)(?![a-zA-Z])|k\b|[/^*+]\s*[\d\\]|-\s*\d|\d+/\d|!\s*=|\\?%\s*\d)",
            rest,
        )
    )


def _is_bracketed(line: str, rest: str) -> bool:
    """Whether the box is one of several parts in brackets: `(\\boxed{5}, 3)`."""
    opening = OPENED.search(line)
    return bool(opening and (opening[1] or CLOSED.match(rest)))


def unit_behind(text: str, end: int) -> str:
    """The unit, multiple or denominator behind a box, as it would read inside; empty where there is none."""
    rest = _line_behind(text, end)
    if match := BASE.match(rest):
        return f" base {match[1].lower()}"
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
    """A command before a box if it is an operator, else nothing."""
    return match[0] if OPERATOR_BEFORE.search(match[0]) else ""


def _in_formula(text: str, place: int) -> bool:
    """Whether a formula between dollar signs or the like is open."""
    before = text[text.rfind("\n\n", 0, place) + 1 : place]
    dollars = len(re.findall(r"(?<!\\)\$\$?", before)) % 2 == 1
    opening = max(before.rfind(r"\("), before.rfind(r"\["))
    return dollars or opening > max(before.rfind(r"\)"), before.rfind(r"\]"))


def _line_before(text: str, start: int) -> str:
    """The line up to `start`, with the words of `\\text{...}` as words."""
    return IN_TEXT.sub(r"\1", text[max(0, start - REACH) : start].rpartition("\n")[2])


def _line_behind(text: str, end: int) -> str:
    return text[end : end + REACH].partition("\n")[0]
