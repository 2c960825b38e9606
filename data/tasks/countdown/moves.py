"""The moves of a countdown search: two terms are combined to one."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A number in play during a search, and the expression that made it. `value` may carry an earlier slip."""

    value: int
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """A combination of two terms: one step of the search."""

    left: Term
    operator: str
    right: Term

    @property
    def value(self) -> int:
        """The exact result; moves are only made where it is a whole number."""
        left, right = self.left.value, self.right.value
        if self.operator == "+":
            return left + right
        if self.operator == "-":
            return left - right
        return left * right if self.operator == "*" else left // right


def possible_moves(terms: Sequence[Term], largest: int) -> list[Move]:
    """Every whole-number, non-negative combination of two of the terms that stays within `largest`."""
    moves = []
    for i, first in enumerate(terms):
        for second in terms[i + 1 :]:
            left, right = (first, second) if first.value >= second.value else (second, first)
            moves += [Move(left, "+", right), Move(left, "*", right), Move(left, "-", right)]
            if right.value and left.value % right.value == 0:
                moves.append(Move(left, "/", right))
    return [move for move in moves if 0 <= move.value <= largest]


def terms_after(terms: Sequence[Term], move: Move, value: int | None = None) -> list[Term]:
    """The terms after a move, with the value that the search states, right or wrong."""
    text = f"( {move.left.text} {move.operator} {move.right.text} )"
    rest = list(terms)
    rest.remove(move.left)
    rest.remove(move.right)
    return [*rest, Term(move.value if value is None else value, text)]
