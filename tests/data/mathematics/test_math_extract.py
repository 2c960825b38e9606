import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mathematics.extract import MAX_FINAL, final_answer, gold_answer

PIECES = [
    "\\boxed{",
    "}",
    "{",
    "$",
    "\\(",
    "\\)",
    "#### ",
    "The answer is ",
    "**",
    "42",
    "x = ",
    " and ",
    ". ",
    "\n",
    "\\",
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{42}.", "42"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\fbox{7} ", "7"),
        (r"\boxed 7", "7"),
        (r"Not \boxed{41}, I slipped: \boxed{42}", "42"),
        (r"\boxed{42}, that is, \boxed{42}", "42"),
        (r"\boxed{3} and \boxed{5}", "3, 5"),
        (r"$x = \boxed{3}$ or $x = \boxed{5}$", "3, 5"),
        ("\\boxed{3}\n\\boxed{5}", "3, 5"),
        ("3 + 4 = 7\n#### 7", "7"),
        ("The answer is 5.\n#### 7 apples", "7 apples"),
        ("The answer is 42.", "42."),
        ("The answer to the problem is: **42**", "42**"),
        ("First the answer is 41. No, the answer is 42", "42"),
        ("Answer:\n42", "42"),
        (r"Therefore the probability is $\frac{1}{2}$.", r"\frac{1}{2}"),
        ("The solutions are $x=3$ and $x=5$.", "x=3, x=5"),
        ("She has 36 + 37 = 73 apples.", "73"),
        ("He runs 540 meters a week.", "540"),
        (r"\boxed{42}. I used \boxed{} notation.", "42"),
        (r"\boxed{42}. That is the \boxed format.", "42"),
        (r"The answer is not 41 but \boxed{42}.", "42"),
        (r"\boxed{42}, not \boxed{41}", "42"),
        (r"$\boxed{5}$ million", r"5\text{ million}"),
        (r"\boxed{5}\text{ cm}", r"5\text{ cm}"),
        (r"\boxed{5} in the box", "5"),
        (r"- \boxed{5}", "5"),
        (r"**\boxed{5}**", "5"),
        (r"$\text{Total} = \boxed{5}$", "5"),
        ("Costs.\nProfit: $65,000", "$65,000"),
        ("So\n= **160 minutes**", "160 minutes"),
        ("The result is 36, not 35.", "36"),
        ("three hundred forty-five", "three hundred forty-five"),
        ("42", "42"),
        ("x = 42", "x = 42"),
        ("12 apples", "12 apples"),
        ("Evelyn", "Evelyn"),
        ("Let me think.\n42", "42"),
        ("Total: 42\nDo you want more?", "42"),
        ("So the total is 42.\n\n**Hope this helps!**", "42"),
        ("42\nLet me know if you have questions.\nThank you!", "42"),
        ("Total: 42\nLet me know if 43 is better", "43"),
    ],
)
def test_the_final_answer_is_found(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        r"\boxed{}",
        r"-\boxed{5}",
        r"2\boxed{5}",
        r"$2 \cdot \boxed{5}$",
        r"\boxed{5}/3",
        r"\boxed{5}^2",
        r"\frac{\boxed{5}}{2}",
        r"10 - \boxed{5}",
        r"It is not \boxed{5}.",
        r"\boxed{5} is wrong.",
        r"\boxed{5} or 6",
        "The answer cannot be 5.",
        "She needs at least 5 of them to win it.",
        r"\boxed{ ",
        "Tom took 3 apples from the table and Ann took 5 pears.",
        "I do not know how to solve this problem.",
        r"\boxed{" + "1" * (MAX_FINAL + 1) + "}",
    ],
)
def test_where_there_is_no_single_answer_none_is_made_up(text):
    assert final_answer(text) is None


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join))
def test_whatever_the_text_an_answer_is_a_short_one_or_none(text):
    answer = final_answer(text)
    assert answer is None or 0 < len(answer) <= MAX_FINAL


@given(st.text(alphabet="0123456789x+-=^ ", min_size=1).filter(str.strip), st.text(alphabet="abc 123\n.", max_size=50))
def test_a_box_wins_whatever_stands_before_it(content, before):
    assert final_answer(f"{before}\n\\boxed{{{content}}}") == content.strip()


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 72", "72"),
        (r"The sum is $1 + 2$, so \boxed{3}.", "3"),
        (r"\text{June 20}", r"\text{June 20}"),
        ("204", "204"),
        ("She sells sixteen eggs a day and eats three of them, which leaves 13.", None),
        ("#### ", None),
    ],
)
def test_gold_answers_come_out_of_solutions(text, gold):
    assert gold_answer(text) == gold
