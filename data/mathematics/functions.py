r"""Functions: `f(x) = x^2` is `f(t) = t^2`, and a formula may come with its domain, as in `\sqrt{x}, x \ge 0`."""

import re

from data.mathematics.brackets import split
from data.mathematics.notation import plain

CALL = re.compile(r"([a-zA-Z](?:_\{?\w+\}?|')*(?:\^\{-1\})?)\(([a-z](?:,[a-z])*)\)")
TERM = re.compile(rf"{CALL.pattern}|[a-zA-Z]_(?:[a-z]|\{{[a-z]\}})")  # f(x), a_n
LETTERS = re.compile(r"\\text\s*\{[^{}]*\}|\\(?:begin|end)\{[^{}]*\}(?:\{[lcr|]*\})?|\\[a-zA-Z]+|[a-zA-Z]")
BEFORE_DOMAIN = re.compile(
    r",|\\text\s*\{\s*,?\s*(?:for|where|with|when|if)\s*\}|(?<![a-zA-Z\\])(?:for|where|with|when|if)(?![a-zA-Z])"
)
NUMBER = r"-?(?:\d+(?:\.\d+)?|\\frac\s*\{\d+\}\s*\{\d+\})"
BOUND = r"(?:<|>|\\le|\\ge|\\ne)\s*"
SIGNED = r"(?:\s*[\^_]\s*\{?\s*(?:\\cdot|\\ast|\+)?\s*\}?)?"  # N^*
DOMAIN = re.compile(
    rf"(?:{NUMBER}\s*{BOUND})?(?P<variable>[a-zA-Z])\s*(?:{BOUND}{NUMBER}|\\in\s*(?:\\mathbb\{{[A-Z]\}}{SIGNED}|[(\[].*[)\]]))"
    rf"|{NUMBER}\s*{BOUND}(?P<last>[a-zA-Z])"
)
RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne|in|equiv)(?![a-zA-Z])")


def same_arguments(gold: str, answer: str, formula: str) -> str | None:
    """The answer's formula with the arguments of the gold answer's function: `x^2` for `f(x)`, `f(t)` and `t^2`. None
    where the functions differ, or where the formula has a letter of the gold answer's for something else.
    """
    here, there = CALL.fullmatch(gold), CALL.fullmatch(answer)
    if not here or not there or here[1] != there[1]:
        return None
    old, new = there[2].split(","), here[2].split(",")
    names = dict(zip(old, new, strict=False))
    letters = set(LETTERS.findall(formula))
    if len(old) != len(new) or letters.intersection(set(new) - set(old)) or {"e", "i"} & {*old, *new}:
        return None
    return LETTERS.sub(lambda match: names.get(match[0], match[0]), formula)


def without_domain(text: str) -> tuple[str, str]:
    r"""A formula and its stated domain: `\sqrt{x}` and `x \ge 0`. The domain is empty where there is none."""
    text = re.sub(r"\s*\(([a-z]\s*\\in[^()]*)\)$", r", \1", text)
    match = BEFORE_DOMAIN.search(text)
    if not match:
        return text, ""
    formula, domain = text[: match.start()].strip(), text[match.end() :].strip()
    head, equals, value = formula.rpartition("=")
    if RELATION.search(value) or (equals and not TERM.fullmatch(re.sub(r"\s", "", plain(head)))):
        return text, ""
    conditions = [DOMAIN.fullmatch(plain(part)) for part in split(domain, ",")]
    letters = set(LETTERS.findall(value)) - {value}
    if not all(each and (each["variable"] or each["last"]) in letters for each in conditions):
        return text, ""
    return formula, domain
