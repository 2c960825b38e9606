"""Splits a tidy answer by its outermost form; each function returns None for an answer of another form."""

import re
from fractions import Fraction

from data.mathematics.brackets import closer, outside, split
from data.mathematics.clock import is_time
from data.mathematics.notation import plain
from data.mathematics.numbers.plain import exact
from data.mathematics.units.units import take_unit

MATRIX = re.compile(
    r"[(\[]?\s*\\begin\{([pbB]?matrix|smallmatrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}\s*[)\]]?", re.DOTALL
)
LABELLED = re.compile(r"^([ABD-Z])\s*(?=\()")  # P(2, 3); C(5, 2) counts
TERM = r"(?:[^ijk+\-()=,\\]|\\[a-zA-Z]+(?![a-zA-Z])|\([^()ijk]*\))*(?<![a-zA-Z\\])[ijk]"  # of a sum of unit vectors
VECTOR = re.compile(rf"-?{TERM}(?:\s*[+-]{TERM}){{1,2}}")
TRANSPOSED = re.compile(r"(?<=[)\]}])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\{T\}|\\mathsf\{T\})\s*\}?$")
NAME = re.compile(
    r"(?:m?\s*\\angle\s*)?(?:[a-zA-Z]|[A-Z]{2,3}|\\overline\{[A-Z]+\}|\\[a-zA-Z]+)(?:_\{?\w+\}?|')*"  # x_1, AB
    r"(?:\s*\([a-zA-Z](?:\s*,\s*[a-zA-Z])*\))?"  # f(x)
    r"|\\(?:vec|hat|bar)\s*\{\s*[a-zA-Z]+\s*\}|\\frac\s*\{\s*d\s*[a-zA-Z]?\s*\}\s*\{\s*d\s*[a-zA-Z]\s*\}"
    r"|[a-zA-Z]\s*\^\s*\{\s*-1\s*\}\s*\([a-zA-Z]\)"  # f^{-1}(x)
    r"|\(\s*(?:[a-zA-Z]|\\[a-zA-Z]+)(?:\s*,\s*(?:[a-zA-Z]|\\[a-zA-Z]+))*\s*\)"  # (x, y)
    r"|(?:P|\\mathbb\{P\}|\\Pr)\s*[(\[]\s*[a-zA-Z](?:\s*(?:\||\\mid|\\cap|\\cup|,)\s*[a-zA-Z])*\s*[)\]]"  # P(A|B)
    r"|(?:P|\\mathbb\{P\}|\\Pr)\s*\(\s*[A-Z]\s*(?:=|<|>|\\le|\\ge)\s*-?\w+\s*\)"  # P(X = 2)
    r"|[fghpqFGH]'*(?:\s*\^\s*\{\s*-1\s*\})?\s*\(\s*-?(?:\d+|\\pi)\s*\)"  # f(2)
    r"|\\(?:sin|cos|tan|cot|sec|csc)\s*\(?\s*(?:\\angle\s*)?(?:[A-Z]{1,3}|[a-z]|\\theta|\\alpha|\\beta)\s*\)?"
    r"|\\det\s*\(?\s*[A-Z]\s*\)?|\|\s*(?:[A-Z]{1,2}|z)\s*\|"  # |AB|
    r"|[a-zA-Z]{4,}(?: [a-zA-Z]+)*"  # Total, Area of the square
)
RELATION = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>]")
JOINT = re.compile(r"\s*(?:,\s*)?(?<![a-zA-Z\\])(?:\\text\s*\{\s*(?:and|or)\s*\}|and|or)(?![a-zA-Z])\s*|\s*;\s*")
BOTH = re.compile(r"^(?:\\text\s*\{\s*)?(?:both|either)\b\s*\}?\s*(?=.*\b(?:and|or)\b)")
GROUPED = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])")
# Sums, products, and integrals of polynomials that are quick to evaluate.
COUNTED = re.compile(
    r"\\(?:sum|prod)(?![a-zA-Z])(?:[\w\s+\-*/^_(){}=]|\\(?:frac|cdot|times)(?![a-zA-Z]))*"
    r"|\\int\s*_\s*(?:\{-?\d{1,3}\}|\d)\s*\^\s*(?:\{-?\d{1,3}\}|\d)(?:[\da-z\s+\-()]|\^\s*(?:\{\d\}|\d)|\\cdot(?![a-z]))*"
)
AND = re.compile(
    r"\s*(?:,\s*)?(?:\\text\s*\{\s*and\s*\}|(?<![a-zA-Z\\])and(?![a-zA-Z])|\\(?:land|wedge)(?![a-zA-Z]))\s*"
)
VARIABLE = re.compile("[a-df-hj-zA-Z]")  # e and i are numbers
CONSTANTS = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+|(?<![a-zA-Z])C(?=\(\d)|(?<=\d)C(?=\d)")
OUTSIDE = re.compile(r"^\|\s*([a-yA-Y])\s*\|\s*(>|\\ge(?![a-zA-Z]))\s*(\d+(?:\.\d+)?)$")  # |x| > 2; z is complex
INSIDE = re.compile(r"^\|\s*([a-yA-Y])\s*\|\s*(<|\\le(?![a-zA-Z]))\s*(\d+(?:\.\d+)?)$")
INTEGERS = re.compile(
    r"(?:,|\s|\\text\s*\{|\(|\b(?:for|where|with|any|all|every|some|integers?)\b|\})+[k-n]\s*"
    r"(?:\\in\s*(?:\\mathbb\s*\{Z\}|Z)|\\text\{\s*(?:is )?(?:an? )?integer\s*\}|(?:is )?(?:an? )?integer"
    r"|\)?$(?<=integer [k-n]))\)?$"
)
CONSTANT = re.compile(r"\+\s*([CcKk]|C_\{?\d\}?)$")  # of integration
INTEGRAL = re.compile(r"(?:\\[a-zA-Z]+|[etuxy]|[^a-zA-Z])*")  # what stands before it
COMMON_WORDS = {"yes", "no", "true", "false", "odd", "even", "none", "all"}


def words(text: str) -> str | None:
    """The `letters` of an answer that is words, a choice such as (A), or a time of day."""
    inner = plain(text)
    if re.search(r"[\\^_=<>{}|+*/]", inner) or not re.search(r"[^\W\d_]", inner):
        return None
    if re.fullmatch(r"\(?[A-Z]\)?\.?", inner):
        return letters(inner)
    if exact(take_unit(inner)[0]) is not None:
        return None
    is_text = text.startswith("\\text") and closer(text, text.index("{")) == len(text) - 1
    long = any(len(word) > 3 or word in COMMON_WORDS for word in re.findall(r"[^\W\d_]+", inner.lower()))
    return letters(inner) if is_text or (long and JOINT.search(inner) is None) or is_time(inner) else None


def letters(text: str) -> str:
    """The letters and digits of a text, in lower case, without an article or `option` in front."""
    text = re.sub(r"^(?:on\s+(?=\w+day))?(?:(?:an?|the)\s+(?=\S{2}))?", "", plain(text).casefold())
    characters = "".join(re.findall(r"[^\W_]|:|[-.](?=\d)|(?<=^[a-z])'+$", text))
    return re.sub(r"^(?:option|choice|answer)(?=.$)", "", characters)


def ratio(text: str) -> list[Fraction] | None:
    """The terms of 2:3, none of them 0; those of a fraction are its two halves."""
    terms = [exact(term) for term in split(re.sub(r"(?<=\d)\s+to\s+(?=\d)", ":", plain(text)), ":")]
    if len(terms) == 1 and terms[0]:
        terms = [Fraction(terms[0].numerator), Fraction(terms[0].denominator)]
    nonzero = [term for term in terms if term]
    return nonzero if 1 < len(nonzero) == len(terms) else None


def parts(text: str) -> list[str] | None:
    """The parts of a list or a set; names before them are dropped where they are all alike."""
    if (items := elements(text)) is not None:
        return items
    if MATRIX.fullmatch(text):
        return None
    items = split(joined(text), ",")
    names = [named(part) for part in items]
    kinds = {without_index(name[0]) for name in names if name}
    if len(items) > 1 and len(kinds) == 1 and (all(names) or (names[0] and "=" not in "".join(items[1:]))):
        items = [name[1] if name else part for part, name in zip(items, names, strict=True)]
    items = [signed for part in items for signed in _both_signs(part)]
    return items if len(items) > 1 else None


def elements(text: str) -> list[str] | None:
    """The elements of a set in braces, or of a union of such sets; none of the empty set. Braces in braces stay."""
    sets = ["" if piece == r"\emptyset" else braced(piece) for piece in union(text)]
    if any(inner is None for inner in sets):
        return None
    return [signed for inner in sets if inner for part in split(joined(inner), ",") for signed in _both_signs(part)]


def without_index(name: str) -> str:
    """A name without its index: `x` for `x_1`."""
    return re.sub(r"_\{?\w+\}?", "", name)


def braced(text: str) -> str | None:
    """The text inside the braces of a set."""
    for opening in ("{", r"\{"):
        if text.startswith(opening) and closer(text, len(opening) - 1) == len(text) - 1:
            return text[len(opening) : -1].removesuffix("\\").strip()
    return None


def union(text: str) -> list[str]:
    """The pieces of a union; the whole text where it is none."""
    return [piece.strip() for piece in text.split(r"\cup")]


def named(text: str) -> tuple[str, str] | None:
    """The name and the value of `x = 5`, of `x = 2 + 3 = 5`, and of `x \\in [0, 1]`."""
    parts = sides(text)
    in_reverse = len(parts) == 2 and VARIABLE.fullmatch(parts[1]) and not NAME.fullmatch(plain(parts[0]))
    if in_reverse and not VARIABLE.search(CONSTANTS.sub("", parts[0])):
        parts.reverse()  # 3 = x, but not xy = k
    if len(parts) < 2 or not parts[-1] or not NAME.fullmatch(plain(parts[0])):
        return None
    return re.sub(r"\s", "", parts[0]), parts[-1]


def sides(text: str) -> list[str]:
    """The parts between equals signs, ignoring those within rows of an environment."""
    head, begin, rows = text.partition(r"\begin")
    parts = split(re.sub(r"\\in(?![a-zA-Z])", "=", head), "=")
    return [*parts[:-1], parts[-1] + begin + rows]


def not_rounded(text: str) -> str:
    """The exact side of an approximation: `1/3` of `1/3 \\approx 0.33`; nothing of `x \\approx 7`."""
    exactly = split(text.replace(r"\approx", "\x00"), "\x00")[0] if r"\approx" in text else text
    return "" if exactly != text and NAME.fullmatch(exactly) else exactly


def calculation(text: str) -> tuple[list[str], str] | None:
    """The sides and the result of a calculation: `3 + 4` and `7` of `3 + 4 = 7` and of `x = 3 + 4 = 7`."""
    parts = sides(text)
    if len(parts) > 1 and NAME.fullmatch(plain(parts[0])) and parts[0] not in ("e", "i"):
        parts = parts[1:]
    if len(parts) == 2 and exact(parts[0]) is not None and exact(parts[1]) is None:
        parts.reverse()  # 7 = 3 + 4
    *working, result = parts
    if (
        not working
        or not result
        or VARIABLE.fullmatch(result)
        or not all(COUNTED.fullmatch(side) or _is_constant(side) for side in working)
    ):
        return None
    return working, result


def _is_constant(side: str) -> bool:
    return re.search("[a-zA-Z]", CONSTANTS.sub("", side)) is None


def conjoined(text: str) -> str:
    """One chain for two bounds of the same name: `-3 < x < 2` for `x > -3 and x < 2`. Other text stays as it is."""
    sides = AND.split(text)
    links = [chain(side) for side in sides]
    if len(sides) != 2 or not all(link is not None and len(link) == 1 for link in links):
        return text
    for (least, over, name), (other, under, most) in ((a[0], b[0]) for a, b in (links, links[::-1]) if a and b):
        if name == other and NAME.fullmatch(name):
            return f"{least} {'<' if over else chr(92) + 'le'} {name} {'<' if under else chr(92) + 'le'} {most}"
    return text


def outside_bounds(text: str) -> str:
    """`x < -2 or x > 2` for `|x| > 2`, and `-2 < x < 2` for `|x| < 2`. Other text stays as it is."""
    text = INSIDE.sub(lambda m: f"-{m[3]} {m[2]} {m[1]} {m[2]} {m[3]}", text)
    return OUTSIDE.sub(
        lambda m: f"{m[1]} {'<' if m[2] == '>' else m[2].replace('ge', 'le')} -{m[3]} or {m[1]} {m[2]} {m[3]}", text
    )


def free_integer(text: str) -> tuple[str, bool]:
    """The text without `, k \\in \\mathbb{Z}` behind it, and whether it had that."""
    match = INTEGERS.search(text)
    return (text[: match.start()].strip(" ,"), True) if match else (text, False)


def with_constant(gold: str, answer: str) -> str:
    """The answer with the gold answer's constant of integration: `x^2 + C` for `x^2 + K`."""
    if "c_" in gold and "C_" in answer and "c_" not in answer and "C_" not in gold:
        answer = answer.replace("C_", "c_")
    here, there = CONSTANT.search(gold), CONSTANT.search(answer)
    if not here or not there or here[1] == there[1] or "C" not in here[1] + there[1]:
        return answer
    if not all(INTEGRAL.fullmatch(text[: match.start()]) for text, match in ((gold, here), (answer, there))):
        return answer
    return answer[: there.start(1)] + here[1]


def ascending(text: str) -> str:
    """A chain of inequalities from small to large: `1 < x < 5` for `5 > x > 1`. Other text stays as it is."""
    links = chain(text)
    if not links:
        return text
    return links[0][0] + "".join(f" {'<' if strict else chr(92) + 'le'} {right}" for _, strict, right in links)


def chain(text: str) -> list[tuple[str, bool, str]] | None:
    """The inequalities of a chain, from small to large: the smaller side, whether it is strict, the larger side."""
    signs = [sign.strip() for sign in RELATION.findall(text)]
    terms = [side.strip() for side in RELATION.split(text)]
    if not signs or not all(terms):
        return None
    if all(sign in (">", r"\ge") for sign in signs):
        signs, terms = signs[::-1], terms[::-1]
    elif not all(sign in ("<", r"\le") for sign in signs):
        return None
    return [(left, sign in "<>", right) for left, sign, right in zip(terms, signs, terms[1:], strict=False)]


def label(text: str) -> str:
    """The letter before a point or the like: `P` of `P(2, 3)`; empty where there is none."""
    match = LABELLED.match(text)
    return match[1] if match else ""


def bracketed(text: str) -> tuple[str, list[str]] | None:
    """The brackets and the two or more parts of a tuple or an interval."""
    text = LABELLED.sub("", text.strip())
    if components := _components(text):
        return "()", components
    if text[:1] not in ("(", "[") or closer(text, 0) != len(text) - 1:
        return None
    parts = split(text[1:-1], ",;")
    return (text[0] + text[-1], parts) if len(parts) > 1 else None


def _components(text: str) -> list[str] | None:
    """The components of a sum of unit vectors: `2` and `-3` of `2i - 3j`."""
    if not VECTOR.fullmatch(text):
        return None
    terms = re.split(r"(?<=[ijk])(?=[\s+-])", text.replace(" ", ""))
    parts = {term[-1]: term[:-1].removesuffix(r"\cdot").removeprefix("+") for term in terms}
    if len(parts) < len(terms) or not {"i", "j"} <= parts.keys():
        return None
    return [{"": "1", "-": "-1"}.get(part, part) for part in (parts[name] for name in "ijk" if name in parts)]


def matrix(text: str) -> list[list[str]] | None:
    """The rows, all of one length, of a matrix, also of `[[1, 2], [3, 4]]`; transposed where it says so."""
    head = TRANSPOSED.sub("", text)
    match, form = MATRIX.fullmatch(head), bracketed(head)
    if match:
        lines = [row.strip() for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])", match[2])]
        rows = [[cell.strip() for cell in row.split("&")] for row in lines if row]
    elif form and form[0] == "[]" and all(row.startswith("[") and row.endswith("]") for row in form[1]):
        rows = [split(row[1:-1], ",") for row in form[1]]
    elif form and head != text:
        rows = [form[1]]
    else:
        return None
    if len({len(row) for row in rows}) > 1:
        return None
    return rows if head == text else [list(column) for column in zip(*rows, strict=True)]


def vector(text: str, like: list[list[str]]) -> list[list[str]] | None:
    """The rows of a point `(1, 2)` written as the column or the row that `like` is; None for another form."""
    form = bracketed(text)
    if form is None or form[0] != "()":
        return None
    if all(len(row) == 1 for row in like):
        return [[part] for part in form[1]]
    return [form[1]] if len(like) == 1 else None


def joined(text: str) -> str:
    """The text with commas for `and`, `or` and semicolons, and without commas that group digits outside brackets."""
    depths = [depth for _, depth in outside(text)]
    text = GROUPED.sub(lambda match: match[0] if depths[match.start()] else match[0].replace(",", ""), text)
    return JOINT.sub(", ", BOTH.sub("", text))


def _both_signs(text: str) -> list[str]:
    """The two values of `1 \\pm x`, where `\\mp` has the other sign."""
    if r"\pm" not in text:
        return [text]
    name = named(text)
    value = (name[1] if name else text).replace(r"\mp", r"\pm@")
    both = [value.replace(r"\pm@", other).replace(r"\pm", sign) for sign, other in (("+", "-"), ("-", "+"))]
    return [re.sub(r"^\s*\+\s*", "", signed) for signed in both]
