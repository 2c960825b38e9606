from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mathematics.notation import tidy
from data.mathematics.numbers.plain import exact, in_base
from data.mathematics.units.units import take_unit

SIGNS = [
    "\\frac",
    "{1}",
    "{2}",
    "\\text{",
    "}",
    "$",
    "^",
    "_",
    "sqrt(",
    ")",
    "(",
    "√",
    "²",
    "π",
    "-",
    "\\!",
    "\\left",
    "*",
]


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ("$$ x $$", "x"),
        (r"\(\dfrac{1}{2}\)", r"\frac{1}{2}"),
        ("x²", "x^{2}"),
        ("sqrt(x+1)", r"\sqrt{x+1}"),
        ("√19", r"\sqrt{19}"),
        (r"\left( 1, 2 \right)", "( 1, 2 )"),
        (r"10{,}000", "10,000"),
        (r"\mathrm{e}", "e"),
        ("**73**", "73"),
        ("**73**.", "73"),
        ("x <= 3", r"x \le 3"),
        ("- 5", "- 5"),
        ("8!", "8!"),
        ("0.333...", "0.333..."),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
)
def test_one_form_for_many_writings(written, tidied):
    assert tidy(written) == tidied


@given(st.lists(st.sampled_from(SIGNS) | st.text(max_size=4), max_size=15).map("".join))
def test_no_text_breaks_the_tidying(text):
    tidy(text)


@given(st.fractions(min_value=-(10**6), max_value=10**6))
def test_fractions_are_read_exactly_in_every_writing(value):
    over, under = value.numerator, value.denominator
    for text in (f"{over}/{under}", f"\\frac{{{over}}}{{{under}}}", f"-\\frac{{{-over}}}{{{under}}}"):
        assert exact(tidy(text)) == value
    whole, rest = divmod(abs(value), 1)
    if rest:
        mixed = f"{'-' if value < 0 else ''}{whole}\\frac{{{rest.numerator}}}{{{rest.denominator}}}"
        assert exact(mixed) == value


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_decimals_and_powers_of_ten_are_read_exactly(digits, places):
    value = Fraction(digits, 10**places)
    assert exact(f"{value.numerator * 10**6 // value.denominator}e-6") == value
    assert exact(f"{digits} \\times 10^{{-{places}}}") == value
    assert exact(f"{digits:,}") == digits


@given(st.integers(0, 99), st.integers(1, 999))
def test_repeating_decimals_are_the_fractions_they_stand_for(whole, period):
    text = str(period)
    value = whole + Fraction(period, 10 ** len(text) - 1)
    assert exact(f"{whole}.\\overline{{{text}}}") == value
    assert exact(f"{whole}.{text * 3}...") == value


@pytest.mark.parametrize(
    "text", ["", "x", "1,00", "1/0", "7 3", "1.2.3", "--5", "3 + 4", "0.123...", "1e9999999", "1 000 00", "5!", "."]
)
def test_what_is_no_plain_number_is_none(text):
    assert exact(text) is None


@given(st.text(alphabet="0123456789.,/\\frac{}-+e^ x%", max_size=40))
def test_no_text_breaks_the_reading_of_numbers(text):
    exact(text)
    in_base(text)
    take_unit(text)


def test_numbers_to_a_base():
    assert in_base("1011_2") == ("1011", 2, 11)
    assert in_base("A3_{16}") == ("A3", 16, 163)
    assert in_base("1012_2") is None
    assert in_base("a_2") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"5\text{ cm}", "5"),
        ("5cm", "5"),
        ("40 miles per hour", "40"),
        ("3 million dollars", "3 million"),
        (r"24\pi \text{ cubic inches}", r"24\pi"),
        ("$18", "18"),
        ("12 apples", "12"),
        ("5 hundredths", "5 hundredths"),
        ("4 more than before", "4 more than before"),
        ("3x", "3x"),
        ("12ab", "12ab"),
    ],
)
def test_a_unit_is_told_from_what_makes_another_value(text, value):
    assert take_unit(text)[0] == value
