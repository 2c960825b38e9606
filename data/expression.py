"""Exact value of an arithmetic expression, by a grammar of our own: nothing is ever handed to an interpreter.

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/") factor)*
    factor  = NUMBER | "(" sum ")"

NUMBER is ASCII digits without a leading zero. There is no sign, point, exponent or name.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARACTERS = 400
MAX_DEPTH = 20
MAX_DIGITS = 9
TOKEN = re.compile(r"[ \t]*(?:([0-9]+)|([-+*/()]))")


class ExpressionError(ValueError):
    """The text is not an expression of the grammar; the message says where it departs."""


@dataclass(frozen=True, slots=True)
class Expression:
    """The value of an expression, and the numbers in it, in order."""

    value: Fraction
    numbers: tuple[int, ...]


def parse_expression(text: str) -> Expression:
    """Evaluate `text` exactly. Raises ExpressionError for anything outside the grammar or its bounds."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_CHARACTERS} characters")
    parser = _Parser(_tokens(text))
    value = parser.sum(0)
    if parser.position < len(parser.tokens):
        raise ExpressionError(f"unexpected {parser.tokens[parser.position]!r}")
    return Expression(value, tuple(parser.numbers))


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.rstrip(" \t")
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unexpected {text[position : position + 8].strip()!r}")
        tokens.append(match[1] or match[2])
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens; `depth` counts open parentheses."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.numbers: list[int] = []

    def next_is(self, signs: str) -> bool:
        return self.position < len(self.tokens) and self.tokens[self.position] in signs

    def take(self) -> str:
        if self.position == len(self.tokens):
            raise ExpressionError("ends too early")
        self.position += 1
        return self.tokens[self.position - 1]

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.next_is("+-"):
            value = value + self.product(depth) if self.take() == "+" else value - self.product(depth)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.factor(depth)
        while self.next_is("*/"):
            if self.take() == "*":
                value *= self.factor(depth)
            elif divisor := self.factor(depth):
                value /= divisor
            else:
                raise ExpressionError("divides by zero")
        return value

    def factor(self, depth: int) -> Fraction:
        token = self.take()
        if token == "(":
            if depth == MAX_DEPTH:
                raise ExpressionError(f"more than {MAX_DEPTH} nested parentheses")
            value = self.sum(depth + 1)
            if self.position == len(self.tokens) or self.take() != ")":
                raise ExpressionError("a parenthesis is not closed")
            return value
        if not token.isdigit():
            raise ExpressionError(f"unexpected {token!r} where a number belongs")
        if len(token) > MAX_DIGITS:
            raise ExpressionError(f"a number of more than {MAX_DIGITS} digits")
        if token[0] == "0" and token != "0":
            raise ExpressionError(f"leading zero in {token!r}")
        self.numbers.append(int(token))
        return Fraction(int(token))
