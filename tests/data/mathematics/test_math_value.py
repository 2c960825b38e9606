import pytest

from data.mathematics.compare import same
from data.mathematics.numbers.words import spelled
from data.mathematics.value import is_value, pending


@pytest.mark.parametrize(
    ("formula", "operators"),
    [
        (r"\sum_{k=1}^{n} k", {"sum"}),
        (r"\int_0^1 x^2 dx", {"int"}),
        (r"\frac{d}{dx} x^2", {"d"}),
        (r"\frac{d}{2}", set()),
        (r"\lfloor x \rfloor", {"lfloor"}),
        (r"\max(x, 1)", {"max"}),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}^{9}", {"matrix"}),
        (r"\frac{\sqrt{2}}{2} + \sin x", set()),
    ],
)
def test_what_is_still_to_be_carried_out(formula, operators):
    assert pending(formula) == operators


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
        (r"\frac{\sqrt{2}}{2}", r"\sin 45^\circ", False),
        (r"2 \ln 2", r"\ln 4", True),
        (r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}", True),
        (r"\frac{n(n+1)}{2}", r"\sum_{k=1}^n k", False),
        (r"\sum_{k=0}^{n} F_k", r"\sum_{j=0}^{n} F_j", True),
        (r"e^{i\theta}", r"\cos\theta + i\sin\theta", True),
    ],
)
def test_functions_and_operators_are_free_only_where_the_gold_answer_has_them(gold, answer, value):
    assert is_value(answer, gold) is value


@pytest.mark.parametrize(
    "problem", [r"\binom{8}{4}", r"\sqrt{4900}", "70 + 0", "7 * 10", "70!/69!", r"\frac{140}{\sqrt{4}}"]
)
def test_the_problem_is_no_answer_where_the_answer_is_a_number(problem):
    assert not same("70", problem)
    assert same("70", f"{problem} = 70")
    assert not same("71", f"{problem} = 71")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("twenty-one", "21"),
        ("three hundred and forty-five", "345"),
        ("two and a half", "5/2"),
        ("5 eighths", "5/8"),
        ("negative five", "-5"),
        ("5 lakh", "500000"),
        ("twenty twelve", "None"),
        ("one two", "None"),
        ("third", "3"),
        ("a third", "1/3"),
        ("-five", "None"),
        ("five apples", "None"),
    ],
)
def test_numbers_in_words(words, value):
    assert str(spelled(words)) == value
