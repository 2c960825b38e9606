r"""Joins LaTeX that arranges formulas in rows into one line: `aligned`, `cases`, arrays behind a brace.

Rows that continue with a sign (`x &= 3 + 4 \\ &= 7`) are one calculation, other rows are a list (`x = 2, y = -1`).
`cases` whose rows have a condition stay as they are: they are one function, which `pieces` splits.
"""

import re

ROWS = re.compile(
    r"(?:\\left\s*)?(\\\{)?\s*\\begin\{(aligned|align\*?|alignat\*?|gathered|gather\*?|split|eqnarray\*?|equation\*?|cases"
    r"|array)\}(?:\{[lcr|]*\})?(.*?)\\end\{\2\}\s*(?:\\right\s*\.)?",
    re.DOTALL,
)
BREAK = re.compile(r"\\\\(?:\[[^\]]*\])?")
GOES_ON = re.compile(r"&?\s*(?:=|<|>|\\(?:le|leq|ge|geq|approx|implies|iff)(?![a-zA-Z]))")
IF = re.compile(r"^,?\s*(?:\\text\s*\{)?\s*(?:if|for|when|where)?(?![a-zA-Z])\s*|[}\s,.;]+$")
OTHERWISE = re.compile(r"(?:\\text\s*\{)?\s*(?:otherwise|else)\s*\}?")


def flattened(text: str) -> str:
    """The text with its rows on one line."""
    return ROWS.sub(_one_line, text)


def _one_line(match: re.Match[str]) -> str:
    brace, name, body = match.groups()
    rows = [row.strip() for row in BREAK.split(body) if row.strip()]
    if not rows or (name == "array" and not brace) or (name == "cases" and any("&" in row for row in rows)):
        return match[0]
    line = rows[0]
    for row in rows[1:]:
        line += " " + row if GOES_ON.match(row) else ", " + row.lstrip("& ")
    return line.replace("&", " ").strip(" ,;.")


def pieces(text: str) -> list[tuple[str, str]] | None:
    """The formulas of a function in cases, each with its condition, `otherwise` without words around it."""
    match = ROWS.fullmatch(text)
    if not match or match[2] != "cases":
        return None
    rows = [row.split("&") for row in BREAK.split(match[3]) if row.strip()]
    if any(len(row) != 2 for row in rows):
        return None
    return [(value.strip().rstrip(",; "), _condition(condition)) for value, condition in rows]


def _condition(text: str) -> str:
    text = text.strip()
    if OTHERWISE.fullmatch(text.rstrip(".,; ")):
        return "otherwise"
    match = re.fullmatch(r"\\text\s*\{\s*(?:if|for|when|where)\s*\}\s*(.*)", text, re.DOTALL)
    return match[1].rstrip(".,; ") if match else IF.sub("", text)
