import json
import threading
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.mixture import draw_problems, judge, load_mixture, side_by_side
from data.problem import Problem
from data.tasks import math
from data.tasks.math import Settings, verify

ROWS = [
    {"question": "What is 2 + 2?", "answer": "2 and 2 make 4.\n#### 4", "level": 1},
    {"question": "What is a half of a half?", "answer": r"It is \boxed{\frac{1}{4}}.", "level": 2},
    {"question": "Who won?", "answer": r"\text{Evelyn}", "level": 2},
]


def asks(gold):
    return Problem("math", "?", "math ?", {"answer": gold})


def judged(gold, answer):
    return judge(asks(gold), f"<think>Hm.</think> {answer}")[1]


@pytest.fixture
def written(tmp_path):
    """Writes rows to a JSONL file and gives the settings that read it."""

    def write(given, name="problems.jsonl", **more):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
        return {"source": str(path), **more}

    return write


def load(spec, split="train", count=10):
    parts = load_mixture({"math": spec})
    return draw_problems(parts, split, count, 0, at_most=True)


# --- judging


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("73", "✅ Final Answer: **73**", True),  # Math-Verify#76
        (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}", True),  # Math-Verify#64
        ("f(x) = 0", r"\forall x>0, f(x) = 0", False),
        ("5", r"\boxed{3} and \boxed{5}", False),  # Math-Verify#44: neither merged nor both counted
        ("3", r"\boxed{3} and \boxed{5}", False),
        ("3, 5", r"\boxed{3} and \boxed{5}", True),
        ("3x-y+13=0", "3x + 4y + 14=0", False),  # Math-Verify#60
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False),  # Math-Verify#14, and the seven below
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", False),
        ("n=2, 3, 4", "n=1, 2, 3", False),
        ("D = (0, 1)", "D = (0, 1.5)", False),
        (r"\pm 2021", "2021", False),
        ("12:00", "1:00", False),
        (r"1, 2, \ldots, n", r"1, 3, 5, \ldots, 2n-1", False),
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}", False),
    ],
)
def test_what_math_verify_was_reported_to_judge_wrong_is_judged_right(gold, answer, correct):
    verdict = judged(gold, answer)
    assert verdict.error is None
    assert verdict.correct is correct


@pytest.mark.parametrize(
    "tower",
    [
        r"9^{9^{9^{9}}}",
        r"\boxed{\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}}",  # Math-Verify#65
    ],
)
@pytest.mark.parametrize("gold", ["5", r"\sqrt{5}", "x^5", r"\{5, 6\}"])
def test_what_would_hang_is_only_wrong_and_the_next_is_judged(gold, tower):
    verdict = judged(gold, tower)
    assert not verdict.correct
    assert verdict.error is None
    assert judged(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}").correct


def test_a_megabyte_is_refused_unread():
    assert verify(asks("5"), "5" * 1_000_000).reason == "answer longer than 16000 characters"
    assert judged("5", "5" * 1_000_000).reason.startswith("answer longer")


def test_an_answer_inside_the_thinking_does_not_count():
    assert not judge(asks("5"), r"<think>\boxed{5}</think> \boxed{6}")[1].correct
    assert not judge(asks("5"), r"<think>\boxed{5}</think>")[1].correct


def test_verdicts_come_in_order_and_from_any_thread():
    answers = [r"\boxed{\frac{2}{4}}", r"\boxed{\frac{3}{4}}"] * 8
    completions = [f"<think>Hm.</think> {answer}" for answer in answers]
    problems = [asks(r"\frac{1}{2} + 0")] * 16
    found = {}

    def ask(number):
        found[number] = side_by_side(judge, problems, completions)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[verdict.correct for _, verdict in found[n]] for n in range(3)] == [[True, False] * 8] * 3


WRITINGS = [
    lambda v: f"{v.numerator}/{v.denominator}",
    lambda v: rf"\frac{{{v.numerator}}}{{{v.denominator}}}",
    lambda v: rf"\dfrac{{{2 * v.numerator}}}{{{2 * v.denominator}}}",
    lambda v: rf"\boxed{{{v.numerator}/{v.denominator}}}",
    lambda v: f"The answer is {v.numerator}/{v.denominator}.",
    lambda v: rf"$x = \frac{{{v.numerator}}}{{{v.denominator}}}$",
    lambda v: f"**{v.numerator}/{v.denominator}**",
    lambda v: rf"{v.numerator}/{v.denominator} \text{{ cm}}",
    lambda v: rf"\frac{{{100 * v.numerator}}}{{{v.denominator}}}\%",
    lambda v: rf"-({-v.numerator}/{v.denominator})",
]
FRACTIONS = st.fractions(min_value=-50, max_value=50, max_denominator=20)


@settings(max_examples=60, deadline=None)
@given(FRACTIONS, FRACTIONS, st.sampled_from(WRITINGS), st.sampled_from(WRITINGS[:3]))
def test_a_number_is_right_where_it_is_the_same_however_either_is_written(value, other, write, write_gold):
    assert verify(asks(write_gold(value)), write(value)).correct
    # 50% may be written for 50 where the problem asks for a percentage, so those are left out of what must be wrong.
    if value != other and "%" not in write(other):
        assert not verify(asks(write_gold(value)), write(other)).correct


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["42", r"\frac{1}{2}", r"\text{Evelyn}", "(1, 2)", "x^2 + 1", r"\{1, 2\}", "x < 3"]),
    st.lists(
        st.sampled_from(
            ["\\frac", "{", "}", "1", "x", "^", "\\boxed{", "(", ")", ",", "\\pm", "<", "=", "\\text{", "\\"]
        )
        | st.text(max_size=3),
        max_size=12,
    ).map("".join),
)
def test_no_answer_makes_the_verifier_raise_or_fail(gold, answer):
    verdict = verify(asks(gold), answer)
    assert verdict.format or not verdict.correct
    assert verdict.error is None or "timed out" in verdict.error


@pytest.mark.parametrize("answer", ["{" * 400, "(" * 400 + "1" + ")" * 400, r"\sqrt{" * 90, "-" * 400 + "1", "^" * 400])
def test_brackets_without_end_are_only_wrong(answer):
    verdict = verify(asks(r"\frac{\sqrt{2}}{2}"), answer)
    assert not verdict.correct
    assert verdict.error is None


# --- reading sets


def test_problems_are_read_from_jsonl_with_their_gold_answers(written):
    problems = load(written(ROWS))
    assert {(p.prompt, p.facts["answer"]) for p in problems} <= {
        ("What is 2 + 2?", "4"),
        ("What is a half of a half?", r"\frac{1}{4}"),
        ("Who won?", r"\text{Evelyn}"),
    }
    read = math.problems(Settings(**written(ROWS)))["train"]
    assert len(read) == 3
    assert all(judge(p, f"<think>.</think> {p.facts['answer']}")[1].correct for p in read)


def test_parquet_and_other_columns(tmp_path):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist([{"problem": "1 + 1?", "solution": r"\boxed{2}", "id": 7}]), path)
    [problem] = math.problems(Settings(source=str(path), question="problem", answer="solution"))["train"]
    assert (problem.prompt, problem.facts) == ("1 + 1?", {"answer": "2"})


def test_a_folder_keeps_its_own_test_split(written, tmp_path):
    written(ROWS, "train.jsonl")
    written([{"question": "What is 3 + 3?", "answer": "6"}, ROWS[0]], "test.jsonl")
    spec = {"source": str(tmp_path)}
    assert {p.facts["answer"] for p in load(spec, "test")} == {"6", "4"}
    assert "4" not in {p.facts["answer"] for p in load(spec, "train")}  # it stands in the test split as well


def test_a_split_may_serve_as_another(written):
    assert len(load(written(ROWS, splits={"test": "train"}), "test")) == 3


def test_rows_are_chosen_by_a_column(written):
    read = math.problems(Settings(**written(ROWS, only={"level": [2]})))
    assert [p.facts["answer"] for p in read["train"]] == [r"\frac{1}{4}", r"\text{Evelyn}"]
    read = math.problems(Settings(**written(ROWS, only={"level": [2]}, rows=1)))
    assert len(read["train"]) == 1


def test_repeated_problems_are_left_out_and_counted(written, capsys):
    again = {"question": "what is  2 + 2?", "answer": "4"}
    read = math.problems(Settings(**written([*ROWS, again], "repeated.jsonl")))
    assert len(read["train"]) == 3
    assert "3 train (1 repeated left out)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?", "answer": r"\frac{1}{"}, r"row 4: its gold answer '\\\\frac\{1\}\{' cannot be read"),
        ({"question": "?", "answer": "#### 3 $ )"}, "row 4: its gold answer '3 \\$ \\)' cannot be read"),
        ({"question": "?", "answer": ""}, "row 4: its answer is ''; expected a text"),
        ({"question": "?"}, "row 4: its answer is null"),
        ({"question": "?", "answer": "so she sold them all and went home with nothing"}, "row 4: no gold answer found"),
        ({"question": "x" * 60_000, "answer": "1"}, "row 4: its question has 60000 characters"),
        ({"question": "x" * 30_000, "answer": "1"}, "row 4: its question has 30000 characters"),
    ],
)
def test_a_faulty_row_is_named_or_dropped(written, row, message, capsys):
    spec = written([*ROWS, row])
    with pytest.raises(ValueError, match=message) as refused:
        load_mixture({"math": spec})
    assert "faulty: drop" in str(refused.value)
    assert len(math.problems(Settings(**spec, faulty="drop"))["train"]) == 3
    assert "1 faulty left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
        ({"question": "problem"}, "has no column 'problem'; it has: question, answer, level"),
        ({"splits": {"test": "validation"}}, "has the splits train"),
        ({"splits": {"exam": "train"}}, "exam: train"),
        ({"only": {"level": [9]}}, "has no row"),
        ({"only": {"subject": ["Algebra"]}}, "no column 'subject'"),
        ({"rows": 0}, "rows is 0"),
        ({"faulty": "ignore"}, "faulty is 'ignore'"),
        ({"colour": 1}, r"Unknown setting tasks\.math\.colour"),
        ({"source": "no-such/data-set"}, "The data set no-such/data-set cannot be loaded: Couldn't reach"),
    ],
)
def test_wrong_settings_are_one_clear_line(written, monkeypatch, change, message):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=message) as refused:
        load_mixture({"math": written(ROWS) | change})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question": 1,\n', "line 1 is no JSON"),
        ("[1]\n", "line 1 is '\\[1\\]'; expected a JSON object"),
        ("", "is empty"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_mixture({"math": {"source": str(path)}})


def test_several_sets_stand_side_by_side(written):
    hard = written([{"question": "Hard?", "answer": "8"}], "hard.jsonl")
    parts = load_mixture({"math": written(ROWS) | {"weight": 3}, "math:hard": hard})
    drawn = draw_problems(parts, "train", 8, 0)
    assert sum(problem.task == "math:hard" for problem in drawn) == 2


def test_without_math_verify_the_refusal_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[math\]'"):
        Settings(source="x.jsonl")


def test_a_value_is_never_taken_for_another():
    assert Fraction(1, 3) != Fraction("0.333333")
    assert not judged(r"\frac{1}{3}", "0.333333").correct
    assert not judged(r"\pi", "3.14159265358979").correct
    assert not judged("50", "0.5").correct
