import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mathematics.bounds import affordable, size_of
from data.mathematics.extract import final_answer
from data.mathematics.notation import tidy

HOSTILE = [
    r"9^{9^{9^{9}}}",
    r"x^x^x^x^x",
    r"7^{123456789}",
    r"7^{10^{9}}",
    r"(10^{10})!",
    r"((9!)!)!",
    "99999!",
    r"\binom{10^{10}}{10^9}",
    "C(99999999,n)",
    "{}_{99999999}C_5",
    r"\sum_{k=1}^{10^{12}} k!",
    r"\Gamma(10^{9})",
    r"\Gamma(\Gamma(\Gamma(5)))",
    r"\binom{\binom{60}{30}}{\binom{50}{25}}",
    r"\sin(10^{10^{10}})",
    "((((((x))))))",
    "|" * 12 + "x" + "|" * 12,
    r"\frac{1}{" * 11 + "2" + "}" * 11,
    "x_{" * 9 + "1" + "}" * 9,
    "+".join(rf"\Gamma(x^{{{power}}})" for power in range(1, 14)),
    "x^{2}+" * 60 + "1",
    "9" * 200 + "x",
]


@pytest.mark.parametrize("answer", HOSTILE)
def test_what_would_cost_a_worker_is_not_worked_out(answer):
    assert not affordable(tidy(answer), r"\frac{\sqrt{2}}{2}")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\frac{-b \pm \sqrt{b^2 - 4ac}}{2a}", "x"),
        (r"e^{-x^2/2}", r"e^{-\frac{x^2}{2}}"),
        (r"2^{2^n}", r"2^{2^{n}}"),
        (r"2 \cdot 2^{1998}", r"2^{1999}"),
        (r"\frac{1}{2006!}", r"\frac{1}{2004!}"),
        (r"\frac{(2n)!}{n!(n+1)!}", r"\frac{1}{n+1} \binom{2n}{n}"),
        (r"\sqrt{1 + \sqrt{2 + \sqrt{3}}}", r"\sqrt{2}"),
        (r"\left(\frac{1}{2}(a+b)\right)^2", "x"),
        (r"2\cos(2(x+1)) + 3\sin(x)", "x"),
        (r"\Gamma(n+1) + \binom{n}{2}\binom{n+1}{3}", "n"),
    ],
)
def test_what_problems_ask_for_is_worked_out(answer, gold):
    assert affordable(tidy(answer), tidy(gold))


@pytest.mark.parametrize("before", ["The answer is 5", "The answer is 5. !", "Hm.\nIt is 5", r"\boxed{5}"])
@pytest.mark.parametrize("behind", [".", "apples"])
def test_spaces_without_end_take_no_time(before, behind):
    start = time.process_time()
    final_answer(before + " " * 16_000 + behind)
    assert time.process_time() - start < 0.3


@given(st.text(alphabet=r"0123456789x+-^_!()[]{}|\ ", max_size=60))
def test_an_answer_is_affordable_beside_itself_but_for_signs_without_end(text):
    assert affordable(text, text) or not affordable(text, "")
    assert size_of(text) == size_of(text + " ") or size_of(text).length < size_of(text + " ").length
