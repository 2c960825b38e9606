r"""Finds the final answer in a text.

It looks in this order: the last `\boxed{...}`; the text behind the last `####`; the text behind the last "the answer
is"; a text that is nothing but an answer; the formula, or the only number, in the last line of plain words.

Several boxes side by side (`\boxed{3} and \boxed{5}`) are one answer of several parts, and none of them counts alone.
Of separate boxes the last one counts: the others were steps on the way. Empty boxes, boxes with a placeholder
(`\boxed{...}`, `\boxed{answer}`) and mentions of `\boxed` do not count. A box that is part of a formula (`2\boxed{5}`)
or retracted (`not \boxed{5}`) is no final answer (`data.mathematics.context`).
"""

import re
from fractions import Fraction
from typing import NamedTuple

from data.mathematics.brackets import split
from data.mathematics.context import (
    COUNTED_BEFORE,
    COUNTED_BEHIND,
    NEGATION,
    NOT_OF,
    REACH,
    WRONG,
    is_bound,
    is_hedged,
    is_part,
    is_reconsidered,
    is_taken_back,
    unit_behind,
)
from data.mathematics.notation import tidy
from data.mathematics.numbers.plain import exact
from data.mathematics.numbers.words import DENOMINATORS, MULTIPLES
from data.mathematics.units.unit_table import lookup

MAX_FINAL = 500  # characters of a final answer; no answer to a problem of this kind is longer

MAX_BOXES = 20  # more than any answer has parts


class Box(NamedTuple):
    """A box in a text: its content, where it starts, and where it ends."""

    content: str
    start: int
    end: int


BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*")
ASIDE = re.compile(  # struck out, or a tag
    r"(?<![\w,}])~~(?=\S)[^~\n]+(?<=\S)~~(?!\w)|</?(?:final_?)?answer>", re.IGNORECASE
)
BARE = re.compile(r"[-+]?[\d.,]*\d|[a-zA-Z](?![a-zA-Z])|\\[a-zA-Z]+(?:\{[^{}]*\})*")
BETWEEN = re.compile(r"\\[()\[\]]|[$.,;&\s]|\b(?:and|or)\b|[a-zA-Z](?:_\{?\d+\}?)?\s*=|\\text\{\s*(?:and|or)\s*\}")
PLACEHOLDER = re.compile(
    r"(?:\s|[.?…_{}$]|\\[,;:! ]|\\(?:[lc]?dots|cdot|q?quad|square|Box|placeholder|phantom\s*\{[^{}]*\}))*"
    r"|<[^<>]*>|\[[^\[\]\d]*answer[^\[\]\d]*\]"
    r"|(?:\\text(?:bf|it|rm)?\s*\{)?\s*(?:(?:the|your|my|final|numerical|exact)\s+)*(?:answer|result|solution)s?(?:\s+here)?\s*\}?",
    re.IGNORECASE,
)
INLINE, DISPLAYED = re.compile(r"(?<!\\)\\[()]"), re.compile(r"(?<!\\)\\[\[\]]")
MARKER = re.compile(r"####\s*(.*)")
STATED = re.compile(
    r"(?:^|\n)(?:A:|Ans[.:])\s+|"
    r"(?:\b(?:final|correct|right|our|my|the|an)\s+){0,3}\b(?:answer|result|solution)s?\b"
    r"(?:\s+(?:to|of|for)\s[^.\n:]{0,80}?)?[\s*_]*(?::|\b(?:is|are|would be|becomes)\b|=)[\s*_:]*",
    re.IGNORECASE,
)
STATED_INSIDE = re.compile(
    r"^(?:\\(?:therefore|Rightarrow|implies|because)(?![a-zA-Z])|\\text\s*\{\s*(?:therefore|thus|so|hence)[,:]?\s*\})\s*(?=\S)"
    r"|^(\\text(?:bf)?\s*\{\s*)?(?:the\s+)?(?:final\s+)?ans(?:wer\b|\.|(?=\s*:))\s*(?:is|:|=)\s*:?\s*\}?\s*(?=\S)",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[^\W\d][.!?])\s+(?=[A-Z])|(?<=[\d)}$\]*][.!?])\s+")
FORMULA = re.compile(
    r"\$\$(.{1,500}?)\$\$|\$(?=[^\s$])([^$\n]{1,500})(?<=[^\s$])\$(?!\d)|\\\((.{1,500}?)\\\)|\\\[(.{1,500}?)\\\]",
    re.DOTALL,
)
NUMBER = re.compile(r"-?[$€£]?-?(?:\d{1,3}(?:[,_']\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?(?:\s*(?:\\?%|percent))?")
COUNT = re.compile(rf"[A-Z]\w*(?:\s+[a-z]\w*){{1,3}}\s+[*$]*{NUMBER.pattern}[*.]*")  # It costs $42.
VERB = re.compile(r"\b(?:is|are|was|were|equals|be|has|have|makes|get|gives|need)\b")
STATEMENT = re.compile(r"=|≈|\\approx|\b(?:is|are|was|were|equals|be)\b")
CONTRAST = re.compile(r",\s*(?:and\s+|but\s+)?(?:not|rather than|instead of)\s+\S+?[.!]?$", re.IGNORECASE)
REASON = re.compile(
    r"(?<!\s),?\s+(?:because|since)\s.*$|(?<!\s)\s*\((?:see|since|because|from|reject\w*|discard\w*|ignor\w*|exclud\w*)\b[^()]*\)(?=[.!]?$)|(?<=\w)\*\*(?=\s+\w)"
)
TOO = re.compile(r"\s+too\s")
MULTIPLE = re.compile(rf"\s+(?:(?:{'|'.join(MULTIPLES)})s?\b|(?:{'|'.join(DENOMINATORS)})s?(?=\s+of\b))", re.IGNORECASE)
NEGATED = re.compile(NEGATION, re.IGNORECASE)
NOUN = r"(?:answer|result|solution|value)(?!s)"
DENIAL = re.compile(
    rf"(?:\b(?:is|was|are|be)|['’]s)\s+(?:an?\s+|the\s+)?{WRONG}(?=\W*$|\s+(?:{NOUN}|that|to)\b)|{NOT_OF}{WRONG}\s+{NOUN}\b"
    rf"|^\W*{WRONG}\s+that\b|\bI\s+doubt\b",
    re.IGNORECASE,
)
DENYING_LABEL = re.compile(
    rf"^\W*(?:not|never|no|neither|nor|{WRONG})(?:\s+(?:an?|the|my|our|this|that|{NOUN}|final|correct|right))*\s*:",
    re.IGNORECASE,
)
DENIED_BEFORE = re.compile(rf"(?:{NOT_OF}{WRONG}|\b(?:not|never|no))(?:\s+(?:the|an?|my|our))?\s*$", re.IGNORECASE)
LEAD = re.compile(
    r"^(?:(?:(?:so|thus|hence|therefore|then|finally|and|in total|we get|this gives)[,:]?\s+"
    r"|=>|⇒|→|∴|\\(?:Rightarrow|implies|therefore|to)(?![a-zA-Z])|>(?=\s))\s*)+",
    re.IGNORECASE,
)
BOLD = re.compile(r"(?<![\w*)])\*\*([^*\n]+?)\*\*(?![\w*(])")
LABEL = re.compile(r"^[*_#\s-]*[A-Za-z][A-Za-z ',()-]{1,60}:[*_\s]*(?=\S)")
OF_PART = re.compile(r"\b(?:to|of|for)\s")  # the answer to part (a)
OF_ANOTHER = re.compile(  # if n were 3, the answer would be 4; a common wrong answer is 4
    r"\b(?:if|for|when|with|had|would|another|common|wrong|incorrect|check\w*|verif\w*|substitut\w*|plug\w*)\b",
    re.IGNORECASE,
)
WORD = re.compile("[a-zA-Z]{2}")
FENCE = re.compile(r"^```\w*\n\s*")
OPENING = re.compile(r"\$\$|\\\[")
PLEASANTRY = re.compile(  # I hope this helps! Would you like me to explain a step?
    r"\W*(?:(?:i\s+)?hope\s+(?:this|that|it)|(?:please\s+)?(?:let\s+me\s+know|feel\s+free)|(?:would|do|did|can|could)\s+you"
    r"|(?:is|was)\s+there\s+anything|does\s+(?:this|that)\s+(?:help|make\s+sense)|(?:thanks|thank\s+you|happy\s+to\s+help))\b[^\d$\\]*",
    re.IGNORECASE,
)
CALCULATION = re.compile(r"<<[^<>]*>>")  # of GSM8K's own solutions
WITHOUT_MARKS = str.maketrans("", "", "$*")
BARE_WORDS = 3
MOST_WORDS = 8  # of a gold answer in words


def final_answer(text: str) -> str | None:
    """The final answer as written, at most `MAX_FINAL` characters; None where there is none, or more than one."""
    text = ASIDE.sub(" ", text)
    answer = _boxed(text)
    if answer is None and (matches := MARKER.findall(text)):
        answer = matches[-1]
    if answer is None:
        answer = _stated(CALCULATION.sub("", text))
    answer = answer.strip() if answer else ""
    return answer if 0 < len(answer) <= MAX_FINAL else None


def gold_answer(text: str) -> str | None:
    """The answer in a row of a set: boxed, behind `####`, or the whole text; None where that has many words."""
    if boxes := _boxes(text):
        answer = _contents(_side_by_side(text, [box for box in boxes if not is_placeholder(box.content)]))
    else:
        matches = MARKER.findall(text)
        answer = matches[-1] if matches else text
        if not matches and len(re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[a-zA-Z]+", " ", text))) > MOST_WORDS:
            return None
    answer = answer.strip()
    return answer if 0 < len(answer) <= MAX_FINAL else None


def _boxed(text: str) -> str | None:
    """The content of the last box, or of the last adjacent ones; empty where no box holds a final answer."""
    text = INLINE.sub("$", DISPLAYED.sub("$$", text))  # what stands around a box is told from one kind of sign
    every = _boxes(text)
    if not every:
        return None
    boxes = [box for box in every if not is_placeholder(box.content) and not is_taken_back(text, box.start, box.end)]
    parts = _side_by_side(text, boxes)
    if not parts or is_hedged(text, parts[-1].end) or is_reconsidered(text[parts[-1].end :][:REACH], parts[-1].content):
        return ""
    if _is_contradicted(text[parts[-1].end :], parts[-1].content):
        return ""
    if any(is_part(text, box.start, box.end) for box in parts) or is_bound(_line_before(text, parts[0].start)):
        return ""
    if parts[-1].content.endswith("?"):  # a guess
        return ""
    answer = STATED_INSIDE.sub(lambda match: (match[1] or "") if "}" not in match[0] else "", _contents(parts))
    behind = unit_behind(text, parts[-1].end)
    return answer + behind if behind and exact(tidy(answer)) is not None else answer


def _is_contradicted(rest: str, content: str) -> bool:
    """Whether the text behind a box that holds a number says that the answer is another number."""
    value = exact(tidy(content))
    if value is None:
        return False
    statements = [
        match.end()
        for match in STATED.finditer(rest)
        if not OF_PART.search(match[0])
        and not OF_ANOTHER.search(SENTENCE.split(rest[: match.start()].rpartition("\n")[2])[-1] + match[0])
    ]
    statements += [match.start(1) for match in MARKER.finditer(rest)]
    if not statements or not (lines := rest[max(statements) :].strip().splitlines()):
        return False
    *before, last = split(SENTENCE.split(lines[0])[0].translate(WITHOUT_MARKS), "=")
    if any(map(WORD.search, before)):  # right, since 2*5 = 10
        return False
    claim = last.strip(" .")
    match = re.fullmatch(rf"({NUMBER.pattern})(?:\s+([a-zA-Z]+))?", claim)
    if match is None or lookup(match[2] or "") is not None:
        return False
    stated = exact(tidy(match[1]))
    return stated not in (None, value) and not (_rounds_to(value, match[1]) or _rounds_to(stated, content))


def _rounds_to(value: Fraction, decimal: str) -> bool:
    """Whether `decimal` has two decimals or more, to which `value` is rounded."""
    places = re.fullmatch(r"-?\d+\.(\d{2,})", decimal)
    return places is not None and round(value, len(places[1])) == Fraction(decimal)


def is_placeholder(content: str) -> bool:
    r"""Whether a box holds a placeholder: nothing, dots, a question mark, `<answer>`, your answer."""
    return bool(PLACEHOLDER.fullmatch(content))


def _side_by_side(text: str, boxes: list[Box]) -> list[Box]:
    """The last box, with the boxes before it that only `and`, a comma, or a name and an equals sign separate."""
    parts = boxes[-1:]
    for box in reversed(boxes[:-1]):
        if BETWEEN.sub("", text[box.end : parts[0].start][:MAX_FINAL]):
            break
        parts.insert(0, box)
    return parts


def _contents(boxes: list[Box]) -> str:
    return ", ".join(dict.fromkeys(box.content for box in boxes))


def _boxes(text: str) -> list[Box]:
    """The last boxes; of nested boxes the inner ones. A box without braces holds a number, a letter or a command."""
    boxes = []
    for match in list(BOX.finditer(text))[-MAX_BOXES:]:
        start = match.end()
        if text[start : start + 1] == "{":
            end = _closing_brace(text, start)
            content = text[start + 1 : end] if end > 0 else ""
        else:
            bare = BARE.match(text[start:])
            content, end = bare[0] if bare else "", start + (bare.end() if bare else 0) - 1
        if not BOX.search(content):
            boxes.append(Box(content.strip(), match.start(), max(end + 1, start)))
    return boxes


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for place in range(start, min(len(text), start + 4 * MAX_FINAL)):
        if text[place] in "{}" and text[place - 1] != "\\":
            depth += 1 if text[place] == "{" else -1
            if depth == 0:
                return place
    return -1


def _stated(text: str) -> str | None:
    """The answer of a text without a box."""
    statements = [
        match
        for match in STATED.finditer(text)
        if text[match.end() :].strip("*_. \n$") and not DENIED_BEFORE.search(_line_before(text, match.start()))
    ]
    if statements:
        rest_of_text = FENCE.sub("", text[statements[-1].end() :].strip())
        line = rest_of_text.splitlines()[0]
        if OPENING.fullmatch(line):  # a formula on lines of its own
            return _joined_formulas(rest_of_text)
        first, *rest = SENTENCE.split(line, maxsplit=1)
        if rest and is_reconsidered(rest[0], first):
            return None
        sentence = CONTRAST.sub("", REASON.sub("", BOLD.sub(r"\1", first)))
        return _joined_formulas(sentence) or sentence
    lines = [line.strip() for line in text.strip().splitlines() if line.strip("-*_#` \t")]
    while len(lines) > 1 and PLEASANTRY.fullmatch(lines[-1]):
        lines.pop()
    if not lines:
        return None
    if re.match(r"\\end|\\\]|\$\$", lines[-1]):  # a formula over several lines
        return _joined_formulas(text) or text
    line = LEAD.sub("", lines[-1]) or lines[-1]
    prose = _is_prose(lines[-1])
    if DENYING_LABEL.match(line):
        return None
    label = LABEL.match(line)
    if len(lines) > 1 or label or line.startswith("="):
        line = LABEL.sub("", BOLD.sub(r"\1", line)).lstrip("= ") or line
    return _of_prose(line) if prose or _is_prose(line) else BOLD.sub(r"\1", line)


def _line_before(text: str, place: int) -> str:
    return text[max(0, place - REACH) : place].rpartition("\n")[2]


def _is_prose(line: str) -> bool:
    """Whether a line is prose, and not an answer alone."""
    if len(line) < MAX_FINAL and exact(tidy(line)) is not None:  # three hundred forty-five
        return False
    if COUNT.fullmatch(line):
        return True
    bare = FORMULA.sub(" ", re.sub(r"\\text\{[^{}]*\}|\\[a-zA-Z]+", " ", line))
    words = len(re.findall(r"[^\W\d_]{2,}", bare))
    if FORMULA.search(line) or VERB.search(bare):
        return words > 0
    return words > BARE_WORDS and not re.match(r"[-+*$\s]*[\d\\([{$]", line.lstrip("*_"))


def _of_prose(line: str) -> str | None:
    """The answer in a sentence: its last formula, the words behind `is`, or its only number. None where the sentence
    denies an answer, or gives only a bound.
    """
    sentence = CONTRAST.sub("", REASON.sub("", SENTENCE.split(line)[-1]))
    if sentence.rstrip("*_ ").endswith("?"):
        return None
    if re.match(r"no, (?:it|they|he|she|this|that|there|we)\b", sentence, re.IGNORECASE):
        return "no"
    if NEGATED.search(sentence) or (DENIAL.search(sentence) and re.search(r"\d|\$|\\", sentence)):
        return None
    if formulas := _joined_formulas(sentence):
        return formulas
    if word := re.match(r"(?:yes|no)(?=[,.!]|$)", sentence, re.IGNORECASE):
        return word[0]
    claim = STATEMENT.split(sentence)[-1].strip(" *_.")
    for part in (claim, sentence):
        numbers = list(NUMBER.finditer(part))
        if len(numbers) == 1:
            before, behind = part[: numbers[0].start()][-REACH:], part[numbers[0].end() :][:REACH]
            if is_bound(before) or COUNTED_BEFORE.search(before) or COUNTED_BEHIND.match(behind) or TOO.match(behind):
                return None
            multiple = MULTIPLE.match(behind)
            return numbers[0][0] + (multiple[0] if multiple else "")
    if claim[:1] in tuple("([{\\") or (claim != sentence.strip(" *_.") and not _is_prose(claim)):
        return claim
    return None


def _joined_formulas(sentence: str) -> str | None:
    """The last formula between dollar signs or the like, and the formulas that `and`, `or` or a comma joins to it."""
    formulas = list(FORMULA.finditer(sentence))
    if not formulas:
        return None
    parts = [formulas[-1]]
    for match in reversed(formulas[:-1]):
        if not re.fullmatch(r"[\s,;]*(?:and|or)?\s*", sentence[match.end() : parts[0].start()]):
            break
        parts.insert(0, match)
    return ", ".join(next(group for group in match.groups() if group).strip() for match in parts)
