r"""Points and solutions of several unknowns: `(2, -1)`, `(x, y) = (2, -1)`, `x = 2, y = -1`.

Named coordinates are compared by name. Beside a point without names, or a bare list, the coordinates of `x = 2, y = -1`
are in the order of their names: `2, -1` is the same, `-1, 2` is not.
"""

from dataclasses import dataclass

from data.mathematics import forms
from data.mathematics.brackets import split


@dataclass(frozen=True, slots=True)
class Point:
    """Coordinates in order, and their names where they have any."""

    names: tuple[str, ...] | None
    values: list[str]


def point(text: str) -> Point | None:
    """The coordinates in tidy text; None for text of another form."""
    named = [forms.named(part) for part in split(forms.joined(text), ",")]
    if len(named) > 1:
        pairs = sorted(pair for pair in named if pair)
        if len(pairs) < len(named) or len({forms.without_index(name) for name, _ in pairs}) < len(pairs):
            return None
        return Point(tuple(name for name, _ in pairs), [value for _, value in pairs])
    name, value = named[0] or (None, text)
    bracketed = forms.bracketed(value)
    if not bracketed or bracketed[0] != "()":
        return None
    if name is None:
        return Point(None, bracketed[1])
    names = tuple(name.strip("()").split(","))
    return Point(names, bracketed[1]) if name.startswith("(") and len(names) == len(bracketed[1]) else None


def paired(gold: str, answer: str) -> list[tuple[str, str]] | bool | None:
    """The coordinates to compare where at least one side has names; False where they cannot be the same; None where
    neither is a point with names.
    """
    gold_point, answer_point = point(gold), point(answer)
    if not ((gold_point and gold_point.names) or (answer_point and answer_point.names)):
        return None
    if any(
        side is None and forms.elements(text) is not None for side, text in ((gold_point, gold), (answer_point, answer))
    ):
        return False  # a set has no order
    values = [side.values if side else forms.parts(text) for side, text in ((gold_point, gold), (answer_point, answer))]
    if gold_point and answer_point and gold_point.names and answer_point.names:
        if sorted(gold_point.names) != sorted(answer_point.names):
            return False
        by_name = dict(zip(answer_point.names, answer_point.values, strict=True))
        return [(value, by_name[name]) for name, value in zip(gold_point.names, gold_point.values, strict=True)]
    if not values[0] or not values[1] or len(values[0]) != len(values[1]):
        return False
    return list(zip(values[0], values[1], strict=True))
