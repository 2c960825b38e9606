"""One form for the many ways of writing the same formula: Unicode, plain text, Markdown and LaTeX become tidy LaTeX.

Nothing here changes a value. Marks without meaning (sizes, spacing, dollar signs around a formula) are removed.
"""

import re
import unicodedata
from collections.abc import Callable

from data.mathematics.brackets import closer
from data.mathematics.environments import flattened
from data.mathematics.numbers.words import MULTIPLES, ONES
from data.mathematics.units.unit_table import lookup

UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "°": r"^\circ ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "ℝ": r"\mathbb{R}", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ",
    "…": "...", "或": " or ", "和": " and ", "且": " and ", "、": ", ", "Å": r"\AA ", "\u212b": r"\AA ",
    "％": "%", "≡": r"\equiv ",
    "⟨": r"\langle ", "⟩": r"\rangle ", "’": "'", "\u00a0": " ", "º": r"^\circ ", "˚": r"^\circ ", "℃": r"^\circ C",
    "℉": r"^\circ F", "′": "'", "″": "''", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "\u200b": "", "\u2060": "", "\ufeff": "",
    "\u2009": " ", "\u202f": " ", "，": ",", "\u2126": r"\Omega ", "\u03a9": r"\Omega ", "\u00b5": r"\mu ",
    "\u03bc": r"\mu ",
}  # fmt: skip
for sign in map(chr, (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F))):  # ½
    above, below = unicodedata.normalize("NFKC", sign).split("⁄")
    UNICODE[sign] = rf"\frac{{{above}}}{{{below}}}"
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉"
CIRCLED = re.compile(r"[①-⑳](?:[\s,、]*(?:and\s+)?[①-⑳])*")
LEVEL = str.maketrans(RAISED + LOWERED, "0123456789-n0123456789")
SIMPLE = str.maketrans(UNICODE)

FONTS = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|superscript)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?|bm"
    r"|boldsymbol)"
)
MEANINGLESS = re.compile(
    r"(?<!\\)\\(?:(?:left|right|displaystyle|textstyle|limits|quad|qquad|[bB]igg?[lrm]?|normalsize|[lL]arge|LARGE"
    r"|[hH]uge|small|bf|rm|it|checkmark|blacksquare|underline(?=\s*\{))(?![a-zA-Z])|(?:text)?color\s*\{[^{}]*\}|[,;:]|(?=\s|$))|[~✓✔✅∎]"
)
EXACTLY = r"(?:exactly|only|just|(?:an? )?total of)"
EXACTLY_BEFORE = re.compile(rf"^(?:\\text\s*\{{\s*{EXACTLY}\s*\}}|(\\text\s*\{{\s*)?{EXACTLY}(?![a-zA-Z]))\s*(?=\S)")
COUNT = re.compile(r"\\text\{\s*(-?\d+(?:[.,/]\d+)*)(\s+[a-zA-Z](?:[^{}\d]|\^\d)*)\}")  # \\text{7 apples}
WORDLESS = re.compile(r"\\text\{\s*([a-zA-Z]|(?:[-+\d.,/%:;()!\s]|\band\b|\bor\b)+)\s*\}")
BASE = rf"(?:\\text\s*\{{\s*)?\(?\s*(\d{{1,2}}|{'|'.join(ONES[2:17])})\s*\)?\s*\}}?"
INTERVAL = r"\s*([^\[\]()]*,[^\[\]()]*?)\s*"  # the ends of one, without brackets in them
FUNCTIONS = r"(?:arc(?:sin|cos|tan|sec|csc|cot)|(?:sin|cos|tan|sec|csc|cot)h?|log|ln|exp)"
FRACTION, ROOT = r"\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}", r"\\sqrt\s*\{[^{}]*\}"
ARGUMENT = (  # of cis
    rf"(-?\s*(?:\((?:[^()]|\([^()]*\))*\)|{FRACTION}|[\w.\\]+(?:\s*\^\s*\{{?\s*\\circ\s*\}}?|\s*/\s*\d+)?))"
)
RELATED = r"(?:[=<>]|\\(?:[lg]eq?|[lg]eqslant|[lg]t|neq?|in)(?![a-zA-Z]))"
RADIX = {"binary": 2, "octal": 8, "decimal": 10, "hex": 16, "hexadecimal": 16, "b": 2, "o": 8, "x": 16}
DIGITS = r"(?<![\w.])((?=[A-Fa-f]*\d|[A-F]+[^\dA-Z]*hex)[\dA-Fa-f]+(?!\w))"
ASIDE = r"\s*(?:\\text\s*\{)?[,\s]*\(?(?:in )?"  # before the name of a base
CHOSEN = {"over": "frac", "choose": "binom"}
LARGE = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion"}
OHMS = {"": "ohm", "k": "kiloohm", "M": "megaohm"}
MICRO = {
    "m": "micrometer", "s": "microsecond", "g": "microgram", "L": "microliter", "A": "microampere", "C": "microcoulomb",
    "F": "microfarad", "H": "microhenry", "T": "microtesla", "V": "microvolt", "W": "microwatt", "N": "micronewton",
    "J": "microjoule",
}  # fmt: skip
REWRITTEN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\(?:[dtcs]|nice|x)frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:num|qty|SI)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), lambda m: f"{m[1]}\\text{{{_spelled_unit(m[2])}}}"),
    (re.compile(r"\\num\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\lg(?![a-zA-Z])"), r"\\log_{10}"),
    (re.compile(rf"\\text\s*\{{\s*(a?{FUNCTIONS})\s*\}}"), r"\\\1 "),
    (re.compile(rf"(?<![\\a-zA-Z])({FUNCTIONS})(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"\\?(?<![a-zA-Z])a(sin|cos|tan)(?![a-zA-Z])"), r"\\arc\1"),
    (
        re.compile(rf"\\exp\s*(?:\{{([^{{}}]+)\}}|(\d+|[a-zA-Z]|{FRACTION}|{ROOT}|\\(?!frac|sqrt)[a-zA-Z]+))"),
        lambda match: f"e^{{{match[1] or match[2]}}}",
    ),
    (re.compile(rf"(?:\\text\s*\{{\s*cis\s*\}}|\\?(?<![a-zA-Z])cis(?![a-zA-Z]))\s*{ARGUMENT}"), r"e^{i(\1)}"),
    (
        re.compile(r"\{([^{}]*)\\(over|choose)(?![a-zA-Z])([^{}]*)\}"),
        lambda m: rf"\{CHOSEN[m[2]]}{{{m[1].strip()}}}{{{m[3].strip()}}}",
    ),
    (re.compile(r"\\[dt]?binom\s*(?=[\w{])"), r"\\binom"),
    (re.compile(r"\\binom(\w)\s*(\w)"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\(?:hat|vec)\s*\{?\s*(?:\\text\s*\{\s*)?\\?([ijk])(?:math)?(?![a-zA-Z])\s*\}{0,2}"), r"\1"),
    (re.compile(r"\\imath(?![a-zA-Z])"), "i"),
    (re.compile(r"\\var(epsilon|phi|theta)(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"(?<=\d)\s*\\text\s*\{\s*(?:out of|in)\s*\}\s*(?=\d)"), "/"),  # 1 in 2
    (re.compile(r"per cent\b"), "percent"),
    (
        re.compile(r"^0([box])(?=[\da-f]+$)(\w+)$", re.IGNORECASE),
        lambda match: f"{match[2]}_{{{RADIX[match[1].lower()]}}}",
    ),
    (
        re.compile(rf"{DIGITS}{ASIDE}(binary|octal|decimal|hex|hexadecimal)\)?\}}?$"),
        lambda match: f"{match[1]}_{{{RADIX[match[2]]}}}",
    ),
    (re.compile(rf"(?<=\d)(\.\d+){ASIDE}decimal\)?\}}?$"), r"\1"),  # 0.75 in decimal
    (re.compile(r"^(binary|octal|hex|hexadecimal)\s+(\w+)$"), lambda match: f"{match[2]}_{{{RADIX[match[1]]}}}"),
    (re.compile(r"(?<=\d)\s*\^\s*\{?\s*(?:\\text\s*\{)?\s*o\s*\}{0,2}(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"^([+-]?\d+\.\d*)\((\d+)\)$"), r"\1\\overline{\2}"),  # 0.1(6)
    (
        re.compile(r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?$"),
        r"\\overline{\1\2\3}",
    ),  # 0.\dot{1}2\dot{3}
    (re.compile(r"(?:\d[\u0304\u0305\u0307])+"), lambda match: rf"\overline{{{re.sub('[^0-9]', '', match[0])}}}"),
    (re.compile(r"(?<![\w.)}^/])(\d+)/(\d+)(?=[a-zA-Z](?![a-zA-Z])|\\pi|\\sqrt|\()"), r"\\frac{\1}{\2}"),  # 1/2x
    (re.compile(r"\^\s*(?:\{\s*((?:\\prime\s*|')+)\}|(\\prime))(?![a-zA-Z])"), lambda m: _primes(m[1] or m[2])),
    (
        re.compile(r"(?<![a-zA-Z\\])([fgh])\s*\^\s*\{\s*\(([1-3])\)\s*\}\s*(?=\([a-z]\))"),
        lambda m: m[1] + "'" * int(m[2]),
    ),
    (
        re.compile(rf"(?<=\d)\s*\\text\s*\{{\s*((?:{'|'.join(MULTIPLES)})s?)\s+(?=[a-zA-Z])"),
        r" \1 \\text{ ",
    ),  # 3\text{ dozen eggs}
    (re.compile(r"(?<=[a-zA-Z]{3})\.\s*\}$"), "}"),  # \text{Five.}
    (re.compile(r"\\text\s*\{\s*\(([a-z]+)\)\s*\}$"), r"\\text{ \1}"),  # \text{ (degrees)}
    (
        re.compile(rf"({RELATED}.{{,80}}?)\\(?:lor|vee)(?![a-zA-Z])(?=.{{,80}}?{RELATED})"),
        r"\1 or ",
    ),  # x < 3 \\lor x > 5
    (re.compile(r"\\backslash(?![a-zA-Z])|(?<=\\mathbb\{R\})\s*[-/]\s*(?=\\\{)"), r" \\setminus "),
    (
        re.compile(
            r"^(?:\\text\s*\{\s*)?all reals?(?: numbers)?(?: x)? (?:except|but|other than)(?: for)?\s*\}?\s*(.+)$"
        ),
        r"\\mathbb{R} \\setminus \\{\1\\}",
    ),
    (re.compile(r"\+\s*/\s*-"), r"\\pm "),
    (re.compile(r":="), "="),
    (re.compile(r"^(?:\\text\s*\{\s*)?the point\s*\}?\s*(?=[A-Z]?\s*\()"), ""),
    (re.compile(r"^(?:\\text\s*\{\s*)?(?:the\s+)?year\s*\}?\s*(?=\d{4}$)"), ""),
    (re.compile(r"^the\s+(?=\d+(?:st|nd|rd|th)\b)"), ""),
    (
        re.compile(
            r"(?<=\d)\s*\^?\s*\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)(?![a-zA-Z])(?!\s*(?:root|power))(?:\s*\}){0,2}"
        ),
        "",
    ),  # 15th
    (re.compile(r"\\log\s*_\s*(?:e(?![a-zA-Z])|\{\s*e\s*\})"), r"\\ln "),
    (re.compile(r"(?<=\d)\s*(?:\\text\s*\{\s*)?([kM]?)\s*\\Omega\s*\}?$"), lambda m: f"\\text{{ {OHMS[m[1]]}}}"),
    (
        re.compile(r"(?<=[\d}])\s*(?:\\text\s*\{\s*)?\\mu\s*(?:\\text\s*\{\s*)?([msgLACFHTVWNJ])\s*\}{0,2}$"),
        lambda m: f"\\text{{ {MICRO[m[1]]}}}",
    ),
    (
        re.compile(
            r"(?:\\text\s*\{\s*\\(?:AA|r\s*A)\s*\}|\\AA(?![a-zA-Z])|\\(?:mathring|r)\s*\{(?:\\text\{)?A\}{1,2})$"
        ),
        r"\\text{ angstrom}",
    ),
    (
        re.compile(r"(?<![a-zA-Z\\])C\s*_\s*\{?\s*(\d{1,2})\s*\}?\s*\^\s*\{?\s*(\d{1,2})\s*\}?(?=\s*[^\s+-])"),
        lambda m: rf"\binom{{{m[1]}}}{{{m[2]}}}" if int(m[1]) > int(m[2]) else m[0],
    ),  # C_5^2 = 10, but C_1^2 is the square of a constant
    (re.compile(r"^\(([0-9A-Za-z]+)\)(?=_)"), r"\1"),  # (1011)_2
    (re.compile(rf"_\s*\{{\s*{BASE}\s*\}}"), lambda match: f"_{{{_digits(match[1])}}}"),
    (re.compile(rf"(?<=\w),?\s*(?:\\text\s*\{{)?\s*\(?(?:in )?base[\s}}-]*{BASE}$"), lambda m: f"_{{{_digits(m[1])}}}"),
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
    (re.compile(r"^((?:(?!\\pm).)*)\\mp(?![a-zA-Z])(?!.*\\pm)"), r"\1\\pm"),
    (re.compile(r"\\langle(?![a-zA-Z])\s*"), "("),
    (re.compile(r"\s*\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\text\s*\{\s*([€£₹¥])\s*\}"), r"\1"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:dots|cdots|ldots)(?![a-zA-Z])"), "..."),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\s*\\&\s*"), " and "),
    (re.compile(r"\\(?:textdollar|text\{\\\$\})(?![a-zA-Z])\s*"), "$"),
    (re.compile(r"\\([%$€£#])"), r"\1"),
    (
        re.compile(r"^(-?)([$€£₹¥])\s*(\d[\d,]*(?:\.\d+)?)\s*([kKMB]|bn)$"),
        lambda match: f"{match[1]}{match[2]}{match[3]} {LARGE[match[4]]}",
    ),  # $1.5k
    (re.compile(r"(?<=\d)\\_(?=\d{3})"), "_"),  # 1\_000\_000
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\*"), r"\\cdot "),
    (re.compile(r"(?<![\\a-zA-Z])sqrt(?![a-zA-Z])"), r"\\sqrt"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])"), r"\\pi "),
    (re.compile(r"\\text\s*\{\s*((?:(?:negative|minus)\s+)?infinity)\s*\}", re.IGNORECASE), r"\1"),
    (re.compile(r"(?<![\\a-zA-Z])(?:negative|minus)\s+infinity(?![a-zA-Z])", re.IGNORECASE), r"-\\infty "),
    (re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
    (re.compile(r"\^\s*-\s*(\w+)"), r"^{-\1}"),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r" \\cup "),
    (re.compile(r"\(\s*-\s*\\infty\s*,\s*\\infty\s*\)"), r"\\mathbb{R}"),
    (
        re.compile(
            rf"(\\{FUNCTIONS}(?:\s*[_^]\s*(?:\w|\{{\w+\}})){{0,2}}\s*(?:\{{?[\w.]+\}}?|\\[a-z]+))\s*/\s*(?=\\{FUNCTIONS})"
        ),
        r"(\1)/",
    ),  # \log 3/\log 2 is no logarithm of a quotient
    (re.compile(r"\s+"), " "),
    (re.compile(r"^\\\{\s*[a-z](?:\s*\\in\s*\\mathbb\{R\})?\s*(?:\\mid|\||:)\s*(.*)\\\}$"), r"\1"),  # {x | x > 1}
]
WHOLE_WORDS = {
    "all integers": r"\mathbb{Z}",
    "all real numbers": r"\mathbb{R}",
    "all reals": r"\mathbb{R}",
    "all real x": r"\mathbb{R}",
    "empty set": r"\emptyset",
}
WHOLE_WORDS |= dict.fromkeys(("no solution", "no solutions", "no solutions exist", "null set", "empty"), r"\emptyset")
WHOLE_WORDS |= dict.fromkeys(("all positive real numbers", "all positive reals"), r"(0, \infty)")
INTRODUCED = re.compile(r"^(?:an?|the) (?:(?:series|sequence|(?:improper )?integral) (?=converges$|diverges$))?")
WHOLE_WORDS |= {"not defined": r"\text{undefined}", "undef": r"\text{undefined}"}
WHOLE_WORDS |= dict.fromkeys(("infinitely many solutions", "infinite", "infinite solutions"), r"\text{infinitely many}")
WHOLE_WORDS |= {"dne": r"\text{does not exist}", "converges": "convergent", "diverges": "divergent"}
WHOLE_WORDS |= dict.fromkeys(("noon", "12 noon", "12:00 noon", "midday"), "12:00 p.m.")
WHOLE_WORDS |= dict.fromkeys(("midnight", "12 midnight", "12:00 midnight"), "12:00 a.m.")
# LaTeX would end a root or a power in parentheses after one character.
CALLS = (
    *(
        (r"\sqrt", r"\sqrt{", "}"),
        ("^", "^{", "}"),
        (r"\exp", "e^{", "}"),
        (r"\text{abs}", "|", "|"),
        ("abs", "|", "|"),
    ),
    *((call, rf"\l{name} ", rf"\r{name} ") for name in ("floor", "ceil") for call in (rf"\text{{{name}}}", name)),
)
DOLLARED = re.compile(r"(?<![\w\\$])\$(?=[^\s$])([^$]*?)(?<=[^\s$\\])\$(?![\w$])")
QUOTED = re.compile(r"""^(["'“])([^"'“”]+)["'”][.,]?$""")
MARKDOWN = re.compile(r"^(?:[*`#\s]|_(?!\w{1,4}C_))+|[*_`\s]+$")  # _nC_2 is a binomial


def tidy(text: str) -> str:
    """The formula in tidy LaTeX. Tidying twice changes nothing more."""
    text = QUOTED.sub(r"\2", MARKDOWN.sub("", text))
    text = flattened(MARKDOWN.sub("", _punctuation(text)))
    text = re.sub(r"√\s*(\d+|[a-z])", r"\\sqrt{\1}", text)
    text = re.sub(f"[{RAISED}]+", lambda match: f"^{{{match[0].translate(LEVEL)}}}", text)
    text = CIRCLED.sub(lambda match: ", ".join(str(ord(c) - 0x245F) for c in match[0] if c >= "①"), text)
    text = re.sub(f"[{LOWERED}]+", lambda match: f"_{{{match[0].translate(LEVEL)}}}", text)
    text = re.sub(r"^~(?=[^\s~]+$)", r"\\approx ", text)  # elsewhere it is a space
    text = _unwrapped(_inner_formulas(text.translate(SIMPLE).strip()))
    text = MEANINGLESS.sub(" ", re.sub(r"\\!\s*", "", text).replace("{,}", ","))
    text = re.sub(FONTS + r"\s*\{", r"\\text{", re.sub(r"\\mathbf\{R\}|\\mathbb\s*R", r"\\mathbb{R}", text))
    text = EXACTLY_BEFORE.sub(r"\1", text)
    text = WORDLESS.sub(_wordless, COUNT.sub(r"\1\\text{\2}", text))
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    for call, opening, closing in CALLS:
        text = _braced(text, call, opening, closing)
    text = _punctuation(_unwrapped(text.strip()))
    return WHOLE_WORDS.get(INTRODUCED.sub("", re.sub(r"\s+", " ", plain(text).lower())), text)


def plain(text: str) -> str:
    """The text without its `\\text{...}` wrappers, which stay readable."""
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip()


def _wordless(match: re.Match[str]) -> str:
    """The content of `\\text{...}`; a unit of one letter stays wrapped, or it would become a variable."""
    behind_value = re.search(
        r"[\d)}]\s*$|\\pi\s*$|\\circ\s*$|\\text\{[^{}]*\}\s*\\cdot\s*$", match.string[: match.start()]
    )
    return match[0] if len(match[1]) == 1 and behind_value and lookup(match[1]) else match[1]


def _spelled_unit(commands: str) -> str:
    r"""The unit of siunitx in words: ` meter per second` for `\meter\per\second`."""
    return " " + re.sub(r"\\|\s+", " ", commands).strip()


def _primes(written: str) -> str:
    return "'" * (written.count("prime") + written.count("'"))


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


def _braced(text: str, call: str, opening: str, closing: str) -> str:
    """`\\sqrt(x)`, `x^(2)` and `abs(x)` as they are meant, with `opening` and `closing` around what is in brackets."""
    called = re.compile(("(?<![a-zA-Z\\\\])" if call.isalpha() else "") + re.escape(call) + r"\s*\(")
    place = 0
    while match := called.search(text, place):
        end = closer(text, match.end() - 1)
        if end < 0:
            return text
        text = f"{text[: match.start()]}{opening}{text[match.end() : end]}{closing}{text[end + 1 :]}"
        place = match.start() + len(opening)
    return text


def _punctuation(text: str) -> str:
    """The text without the end of a sentence, unless that belongs to the number or word: `0.333...`, `p.m.`."""
    while text and text[-1] in ".,;:!?" and not text.endswith("...") and not re.search(r"\.\w\.$|[\w)!]!$", text):
        text = text[:-1].rstrip()
    return text
