r"""Congruences: `x \equiv 3 \pmod 7` is `x \equiv 10 \pmod 7`."""

import re

from data.mathematics.brackets import split

CONGRUENCE = re.compile(
    r"(?P<name>[a-zA-Z](?:_\{?\w+\}?)?)\s*\\equiv\s*(?P<residues>-?\d{1,18}(?:\s*,\s*-?\d{1,18})*)\s*,?\s*"
    r"(?:\\pmod|\(?\s*\\?[bp]?mod)\s*\{?\s*(?P<modulus>\d{1,18})\s*\}?\s*\)?"
)


def congruence(text: str) -> tuple[str, int, set[int]] | None:
    """The name, the modulus and the residues, each at least 0, of tidy text; None for any other text."""
    match = CONGRUENCE.fullmatch(text)
    if not match or not int(match["modulus"]):
        return None
    modulus = int(match["modulus"])
    return match["name"], modulus, {int(part) % modulus for part in split(match["residues"], ",")}
