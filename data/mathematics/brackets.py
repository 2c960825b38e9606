"""Splits LaTeX where no bracket is open."""

import re
from collections.abc import Iterator

OPENERS, CLOSERS = "([{", ")]}"
MAX_DEPTH = 40


def outside(text: str, openers: str = OPENERS, closers: str = CLOSERS) -> Iterator[tuple[int, int]]:
    """The place and depth of each character; a bracket counts as inside itself.

    Any closer closes any opener, for half-open intervals are written `[2, 5)`.
    """
    depth = 0
    for place, character in enumerate(text):
        if character in openers:
            depth += 1
        yield place, depth
        if character in closers:
            depth -= 1


def split(text: str, separators: str) -> list[str]:
    """The parts of `text` between those of the separators, single characters, that stand outside all brackets."""
    parts, start = [], 0
    for place, depth in outside(text):
        if depth == 0 and text[place] in separators:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def closer(text: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`; -1 where none does."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] in OPENERS:
            depth += 1
        elif text[place] in CLOSERS:
            depth -= 1
            if depth == 0:
                return place
    return -1


def is_sound(text: str) -> bool:
    """Whether the braces pair up, and brackets and signs nest no deeper than in any real formula."""
    if re.search(r"[-+^]{8}", text):
        return False
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0 and max((depth for _, depth in outside(text)), default=0) <= MAX_DEPTH
