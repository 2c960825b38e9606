"""One form for the many ways of writing the same formula: Unicode, plain text, Markdown and LaTeX become tidy LaTeX.

Nothing here changes a value. What has no meaning (sizes, spacing, dollar signs around a formula) goes away.
"""

import re
from collections.abc import Callable

from data.mathematics.brackets import closer
from data.mathematics.environments import flattened
from data.mathematics.number_words import ONES
from data.mathematics.unit_table import lookup

UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "°": r"^\circ ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "ℝ": r"\mathbb{R}", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ",
    "…": "...", "％": "%",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "⟨": r"\langle ", "⟩": r"\rangle ", "’": "'", "\u00a0": " ",
    "\u2009": " ", "\u202f": " ", "，": ",",
}  # fmt: skip
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉"
LEVEL = str.maketrans(RAISED + LOWERED, "0123456789-n0123456789")
SIMPLE = str.maketrans(UNICODE)

FONTS = r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?|bm|boldsymbol)"
MEANINGLESS = re.compile(
    r"(?<!\\)\\(?:(?:left|right|displaystyle|textstyle|limits|quad|qquad|[bB]igg?[lrm]?)(?![a-zA-Z])|[,;:]|(?=\s|$))|~"
)
WORDLESS = re.compile(r"\\text\{\s*([a-zA-Z]|(?:[-\d.,/%:;()!\s]|\band\b|\bor\b)+)\s*\}")
BASE = rf"(?:\\text\s*\{{\s*)?\(?\s*(\d{{1,2}}|{'|'.join(ONES[2:17])})\s*\)?\s*\}}?"
INTERVAL = r"\s*([^\[\]()]*,[^\[\]()]*?)\s*"  # the ends of one, without brackets in them
REWRITTEN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\(?:[dtcs]|nice|x)frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:num|qty|SI)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1\\text{ \2}"),
    (re.compile(r"\\num\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\lg(?![a-zA-Z])"), r"\\log_{10}"),
    (re.compile(r"(?<=\d)\s*\^?\s*\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)(?![a-zA-Z])\s*\}{0,2}"), ""),  # 15th
    (re.compile(rf"_\s*\{{\s*{BASE}\s*\}}"), lambda match: f"_{{{_digits(match[1])}}}"),
    (re.compile(rf"(?<=\w)\s*(?:\\text\s*\{{)?\s*\(?(?:in )?base[\s}}-]*{BASE}$"), lambda m: f"_{{{_digits(m[1])}}}"),
    (re.compile(rf"(?:(?<=^)|(?<=[=\s]))\]{INTERVAL}(?=[\[\]])"), r"(\1"),  # ]2, 3[
    (re.compile(rf"([(\[]){INTERVAL}\[(?=$|[\s,.])"), r"\1\2)"),
    (re.compile(r"\\(?:leqslant|leqq|leq)(?![a-zA-Z])|<=|=<"), r"\\le "),
    (re.compile(r"\\(?:geqslant|geqq|geq)(?![a-zA-Z])|>="), r"\\ge "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\neq(?![a-zA-Z])|!="), r"\\ne "),
    (re.compile(r"\\(?:varnothing|O)(?![a-zA-Z])|\\\{\s*\\\}"), r"\\emptyset "),
    (re.compile(r"\\(?:R|[rR]eals)(?![a-zA-Z])"), r"\\mathbb{R}"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:dots|cdots|ldots)(?![a-zA-Z])"), "..."),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\\([%$€£&#])"), r"\1"),
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\*"), r"\\cdot "),
    (re.compile(r"(?<![\\a-zA-Z])sqrt(?![a-zA-Z])"), r"\\sqrt"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])"), r"\\pi "),
    (re.compile(r"(?<![\\a-zA-Z])(sin|cos|tan|sec|csc|cot|log|ln|exp)(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
    (re.compile(r"\^\s*-\s*(\w+)"), r"^{-\1}"),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r" \\cup "),
    (re.compile(r"\(\s*-\s*\\infty\s*,\s*\\infty\s*\)"), r"\\mathbb{R}"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"^\\\{\s*[a-z](?:\s*\\in\s*\\mathbb\{R\})?\s*(?:\\mid|\||:)\s*(.*)\\\}$"), r"\1"),  # {x | x > 1}
]
WHOLE_WORDS = {"all real numbers": r"\mathbb{R}", "all reals": r"\mathbb{R}", "empty set": r"\emptyset"}
MARKDOWN = re.compile(r"^[*_`#\s]+|[*_`\s]+$")


def tidy(text: str) -> str:
    """The formula in tidy LaTeX. Tidying twice changes nothing more."""
    text = flattened(MARKDOWN.sub("", _punctuation(MARKDOWN.sub("", text))))
    text = re.sub(r"√\s*(\d+|[a-z])", r"\\sqrt{\1}", text)
    text = re.sub(f"[{RAISED}]+", lambda match: f"^{{{match[0].translate(LEVEL)}}}", text)
    text = re.sub(f"[{LOWERED}]+", lambda match: f"_{{{match[0].translate(LEVEL)}}}", text)
    text = _unwrapped(text.translate(SIMPLE).strip())
    text = MEANINGLESS.sub(" ", re.sub(r"\\!\s*", "", text).replace("{,}", ","))
    text = re.sub(FONTS + r"\s*\{", r"\\text{", re.sub(r"\\mathbf\{R\}|\\mathbb\s*R", r"\\mathbb{R}", text))
    text = WORDLESS.sub(_wordless, text)
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    text = _braced(_braced(text, r"\sqrt"), "^")
    text = _punctuation(_unwrapped(text.strip()))
    return WHOLE_WORDS.get(plain(text).lower(), text)


def plain(text: str) -> str:
    """The text without its `\\text{...}` wrappers, which stay readable."""
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip()


def _wordless(match: re.Match[str]) -> str:
    """What stands in `\\text{...}`; a letter that is a unit stays behind a value, where it would become a variable."""
    behind_value = re.search(r"[\d)}]\s*$|\\pi\s*$|\\circ\s*$", match.string[: match.start()])
    return match[0] if len(match[1]) == 1 and behind_value and lookup(match[1]) else match[1]


def _digits(base: str) -> str:
    return str(ONES.index(base)) if base in ONES else base


def _unwrapped(text: str) -> str:
    """Without the signs that only say that a formula stands between them."""
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            return _unwrapped(text[len(opening) : -len(closing)].strip())
    return text


def _braced(text: str, command: str) -> str:
    """`\\sqrt(x)` and `^(x)`, which LaTeX would end after one character, as they are meant."""
    place = text.find(command + "(")
    while place >= 0:
        start = place + len(command)
        end = closer(text, start)
        if end < 0:
            return text
        text = f"{text[:start]}{{{text[start + 1 : end]}}}{text[end + 1 :]}"
        place = text.find(command + "(", start)
    return text


def _punctuation(text: str) -> str:
    """Without what ends a sentence, unless it belongs to the number or the word: `0.333...`, `p.m.`."""
    while text and text[-1] in ".,;:!?" and not text.endswith("...") and not re.search(r"\.\w\.$|\d!$|\)!$|\w!$", text):
        text = text[:-1].rstrip()
    return text
