import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.expression import ExpressionError, parse_expression


@st.composite
def expressions(draw, depth=3):
    """An expression's text, with the value and the numbers that it was built from."""
    if depth == 0 or draw(st.booleans()):
        number = draw(st.integers(0, 99))
        return str(number), Fraction(number), (number,)
    left, left_value, left_numbers = draw(expressions(depth=depth - 1))
    right, right_value, right_numbers = draw(expressions(depth=depth - 1))
    operator = draw(st.sampled_from("+-*/" if right_value else "+-*"))
    value = {
        "+": lambda: left_value + right_value,
        "-": lambda: left_value - right_value,
        "*": lambda: left_value * right_value,
        "/": lambda: left_value / right_value,
    }[operator]()
    space = draw(st.sampled_from(["", " "]))
    return f"({left}{space}{operator}{space}{right})", value, left_numbers + right_numbers


@given(expressions())
def test_value_and_numbers_are_those_the_expression_was_built_from(built):
    text, value, numbers = built
    parsed = parse_expression(text)
    assert parsed.value == value
    assert parsed.numbers == numbers


def test_precedence_and_association_are_the_usual_ones():
    assert parse_expression("2 + 3 * 4 - 6 / 3").value == 12
    assert parse_expression("10 - 3 - 2").value == 5
    assert parse_expression("16 / 4 / 2").value == 2
    assert parse_expression("1 / 3 * 3").value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2.5*4",
        "2**3",
        "7//2",
        "1e3",
        "-2",
        "+2",
        "2*-3",
        "--2",
        "(2",
        "2)",
        "()",
        "2 3",
        "2(3)",
        "07",
        "٣+٤",
        "2×3",
        "2−3",
        "²",
        "½",
        "2+",
        "2 + x",
        "__import__('os')",
        "2;3",
        "8+6 = 14",
        "8+6\n6+8",
        "1/0",
        "1/(2-2)",
        "０",
        "9" * 10,
        "(" * 10_000 + "1" + ")" * 10_000,
        "(" * 30 + "1" + ")" * 30,
        "1+" * 5_000 + "1",
    ],
)
def test_anything_outside_the_grammar_is_refused_at_once(text):
    with pytest.raises(ExpressionError):
        parse_expression(text)


@given(st.text(max_size=600) | st.text(alphabet="0123456789+-*/() .", max_size=600))
def test_no_text_does_worse_than_raise_expression_error(text):
    with contextlib.suppress(ExpressionError):
        parse_expression(text)
