"""One form for the many ways of writing the same formula: Unicode, plain text, Markdown and LaTeX become tidy LaTeX.

Nothing here changes a value. Marks without meaning (sizes, spacing, dollar signs around a formula) are removed.
"""

import re
from collections.abc import Callable

from data.mathematics.brackets import closer
from data.mathematics.environments import flattened
from data.mathematics.numbers.words import ONES
from data.mathematics.units.unit_table import lookup

UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "°": r"^\circ ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "ℝ": r"\mathbb{R}", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ",
    "…": "...", "％": "%",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "⟨": r"\langle ", "⟩": r"\rangle ", "’": "'", "\u00a0": " ",
    "\u2009": " ", "\u202f": " ", "，": ",", "\u2126": r"\Omega ", "\u03a9": r"\Omega ", "\u00b5": r"\mu ",
    "\u03bc": r"\mu ",
}  # fmt: skip
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉"
LEVEL = str.maketrans(RAISED + LOWERED, "0123456789-n0123456789")
SIMPLE = str.maketrans(UNICODE)

FONTS = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|superscript)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?|bm"
    r"|boldsymbol)"
)
MEANINGLESS = re.compile(
    r"(?<!\\)\\(?:(?:left|right|displaystyle|textstyle|limits|quad|qquad|[bB]igg?[lrm]?)(?![a-zA-Z])|[,;:]|(?=\s|$))|~"
)
WORDLESS = re.compile(r"\\text\{\s*([a-zA-Z]|(?:[-\d.,/%:;()!\s]|\band\b|\bor\b)+)\s*\}")
BASE = rf"(?:\\text\s*\{{\s*)?\(?\s*(\d{{1,2}}|{'|'.join(ONES[2:17])})\s*\)?\s*\}}?"
INTERVAL = r"\s*([^\[\]()]*,[^\[\]()]*?)\s*"  # the ends of one, without brackets in them
OHMS = {"": "ohm", "k": "kiloohm", "M": "megaohm"}
MICRO = {"m": "micrometer", "s": "microsecond", "g": "microgram", "L": "microliter", "A": "microampere"}
REWRITTEN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\(?:[dtcs]|nice|x)frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:num|qty|SI)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), lambda m: f"{m[1]}\\text{{{_spelled_unit(m[2])}}}"),
    (re.compile(r"\\num\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\lg(?![a-zA-Z])"), r"\\log_{10}"),
    (re.compile(r"^the\s+(?=\d+(?:st|nd|rd|th)\b)"), ""),
    (re.compile(r"^(?:\\text\s*\{\s*exactly\s*\}|exactly\b)\s*(?=\S)"), ""),
    (re.compile(r"(?<=\d)\s*\^?\s*\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)(?![a-zA-Z])(?:\s*\}){0,2}"), ""),  # 15th
    (re.compile(r"\\log\s*_\s*(?:e(?![a-zA-Z])|\{\s*e\s*\})"), r"\\ln "),
    (re.compile(r"(?<=\d)\s*(?:\\text\s*\{\s*)?([kM]?)\s*\\Omega\s*\}?$"), lambda m: f"\\text{{ {OHMS[m[1]]}}}"),
    (re.compile(r"(?<=\d)\s*\\mu\s*(?:\\text\s*\{\s*)?([msgLA])\s*\}?$"), lambda m: f"\\text{{ {MICRO[m[1]]}}}"),
    (re.compile(r"^\(([0-9A-Za-z]+)\)(?=_)"), r"\1"),  # (1011)_2
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
    (re.compile(r"^\\mathbb\{R\}\s*(?:\^\s*\{?\s*\+\s*\}?|_\s*\{?\s*(?:\+|>\s*0)\s*\}?)$"), r"(0, \\infty)"),
    (re.compile(r"^\\mathbb\{R\}\s*(?:\^\s*\{?\s*-\s*\}?|_\s*\{?\s*(?:-|<\s*0)\s*\}?)$"), r"(-\\infty, 0)"),
    (re.compile(r"^\\mp(?![a-zA-Z])(?!.*\\pm)"), r"\\pm"),
    (re.compile(r"\\langle(?![a-zA-Z])\s*"), "("),
    (re.compile(r"\s*\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\text\s*\{\s*([€£₹¥])\s*\}"), r"\1"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:dots|cdots|ldots)(?![a-zA-Z])"), "..."),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\\([%$€£&#])"), r"\1"),
    (re.compile(r"(?<=\d)\\_(?=\d{3})"), "_"),  # 1\_000\_000
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\*"), r"\\cdot "),
    (re.compile(r"(?<![\\a-zA-Z])sqrt(?![a-zA-Z])"), r"\\sqrt"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])"), r"\\pi "),
    (re.compile(r"(?<![\\a-zA-Z])(sin|cos|tan|sec|csc|cot|log|ln|exp)(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"\\text\s*\{\s*((?:(?:negative|minus)\s+)?infinity)\s*\}", re.IGNORECASE), r"\1"),
    (re.compile(r"(?<![\\a-zA-Z])(?:negative|minus)\s+infinity(?![a-zA-Z])", re.IGNORECASE), r"-\\infty "),
    (re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
    (re.compile(r"\^\s*-\s*(\w+)"), r"^{-\1}"),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r" \\cup "),
    (re.compile(r"\(\s*-\s*\\infty\s*,\s*\\infty\s*\)"), r"\\mathbb{R}"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"^\\\{\s*[a-z](?:\s*\\in\s*\\mathbb\{R\})?\s*(?:\\mid|\||:)\s*(.*)\\\}$"), r"\1"),  # {x | x > 1}
]
WHOLE_WORDS = {"all real numbers": r"\mathbb{R}", "all reals": r"\mathbb{R}", "empty set": r"\emptyset"}
WHOLE_WORDS |= {"no solution": r"\emptyset", "no solutions": r"\emptyset"}
WHOLE_WORDS |= {"dne": r"\text{does not exist}"}
WHOLE_WORDS |= {"noon": "12:00 p.m.", "12 noon": "12:00 p.m.", "midnight": "12:00 a.m.", "12 midnight": "12:00 a.m."}
DOLLARED = re.compile(r"(?<![\w\\$])\$(?=[^\s$])([^$]*?)(?<=[^\s$\\])\$(?![\w$])")
MARKDOWN = re.compile(r"^[*_`#\s]+|[*_`\s]+$")


def tidy(text: str) -> str:
    """The formula in tidy LaTeX. Tidying twice changes nothing more."""
    text = flattened(MARKDOWN.sub("", _punctuation(MARKDOWN.sub("", text))))
    text = re.sub(r"√\s*(\d+|[a-z])", r"\\sqrt{\1}", text)
    text = re.sub(f"[{RAISED}]+", lambda match: f"^{{{match[0].translate(LEVEL)}}}", text)
    text = re.sub(f"[{LOWERED}]+", lambda match: f"_{{{match[0].translate(LEVEL)}}}", text)
    text = re.sub(r"^~(?=[^\s~]+$)", r"\\approx ", text)  # elsewhere it is a space
    text = _unwrapped(_inner_formulas(text.translate(SIMPLE).strip()))
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
    """The content of `\\text{...}`; a unit of one letter stays wrapped, or it would become a variable."""
    behind_value = re.search(r"[\d)}]\s*$|\\pi\s*$|\\circ\s*$", match.string[: match.start()])
    return match[0] if len(match[1]) == 1 and behind_value and lookup(match[1]) else match[1]


def _spelled_unit(commands: str) -> str:
    r"""The unit of siunitx in words: ` meter per second` for `\meter\per\second`."""
    return " " + re.sub(r"\\|\s+", " ", commands).strip()


def _digits(base: str) -> str:
    return str(ONES.index(base)) if base in ONES else base


def _inner_formulas(text: str) -> str:
    """A sentence of formulas, `$x=2$ and $y=-1$`, without the signs around each."""
    return DOLLARED.sub(r"\1", text) if len(DOLLARED.findall(text)) > 1 else text


def _unwrapped(text: str) -> str:
    """The text without signs that only delimit a formula."""
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            return _unwrapped(text[len(opening) : -len(closing)].strip())
    return text


def _braced(text: str, command: str) -> str:
    """`\\sqrt(x)` and `^(x)` as they are meant; LaTeX would end them after one character."""
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
    """The text without the end of a sentence, unless that belongs to the number or word: `0.333...`, `p.m.`."""
    while text and text[-1] in ".,;:!?" and not text.endswith("...") and not re.search(r"\.\w\.$|\d!$|\)!$|\w!$", text):
        text = text[:-1].rstrip()
    return text
