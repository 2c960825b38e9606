"""Every fault of a row, whatever it is, is told with its file and row, and `faulty: drop` leaves the row out."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.fixed_sets.fixed_set import SetSettings, read_set, text_of
from data.fixed_sets.rows import MAX_LINE
from data.mixture import load_mixture
from data.problem import Problem
from data.tasks import math, own
from data.tasks.math import Settings

GOOD = [{"question": f"What is {n} + 1?", "answer": f"{n + 1}"} for n in range(3)]
LINES = [json.dumps(row) for row in GOOD]

BROKEN_LINES = {
    "NaN": ('{"question": "q", "answer": NaN}', r"its answer is nan; expected a text, or a number that is finite"),
    "Infinity": ('{"question": "q", "answer": Infinity}', "its answer is inf"),
    "-Infinity": ('{"question": "q", "answer": -Infinity}', "its answer is -inf"),
    "1e400": ('{"question": "q", "answer": 1e400}', "its answer is inf"),
    "the text nan": (
        '{"question": "q", "answer": "nan"}',
        "its answer is 'nan', which stands for a value that is missing",
    ),
    "the text None": ('{"question": "q", "answer": " None "}', "its answer is 'None', which stands for"),
    "the text <NA>": ('{"question": "q", "answer": "<NA>"}', "its answer is '<NA>', which stands for"),
    "a number of JavaScript": (
        '{"question": "q", "answer": "-Infinity"}',
        "its answer is '-Infinity', which stands for",
    ),
    "a number of Python": ('{"question": "q", "answer": "+inf"}', r"its answer is '\+inf', which stands for"),
    "an error of a spreadsheet": (
        '{"question": "q", "answer": "#DIV/0!"}',
        "its answer is '#DIV/0!', which stands for",
    ),
    "n/a": ('{"question": "q", "answer": "N/A"}', "its answer is 'N/A', which stands for"),
    "NaN behind a mark": (
        '{"question": "q", "answer": "None.\\n#### NaN"}',
        "its gold answer is 'NaN', which stands for",
    ),
    "NaN in a box": ('{"question": "q", "answer": "so \\\\boxed{nan}"}', "its gold answer is 'nan', which stands for"),
    "NaN in letters": ('{"question": "q", "answer": "$\\\\text{None}$"}', "its gold answer is .*, which stands for"),
    "dots": ('{"question": "q", "answer": "..."}', "its gold answer is '...', which stands for"),
    "a placeholder": ('{"question": "q", "answer": "The answer"}', "its gold answer is 'The answer', which stands for"),
    "to be done": ('{"question": "q", "answer": "TBD."}', "its answer is 'TBD.', which stands for"),
    "elsewhere": ('{"question": "q", "answer": "see solution"}', "its answer is 'see solution', which stands for"),
    "not known": ('{"question": "q", "answer": "Unknown"}', "its answer is 'Unknown', which stands for"),
    "a proof": ('{"question": "q", "answer": "proof"}', "its answer is 'proof', which stands for"),
    "NaN in percent": ('{"question": "q", "answer": "NaN%"}', "its answer is 'NaN%', which stands for"),
    "one over zero": ('{"question": "q", "answer": "1/0"}', "its gold answer '1/0' cannot be read"),
    "a box for an answer": ('{"question": "q", "answer": "\\\\boxed{...}"}', "no gold answer found"),
    "null": ('{"question": "q", "answer": null}', "its answer is null; expected a text"),
    "no answer": ('{"question": "q"}', "its answer is null; expected a text"),
    "a blank": ('{"question": "q", "answer": " \\u00a0 "}', "expected a text"),
    "true": ('{"question": "q", "answer": true}', "its answer is 'True'; expected a text"),
    "a list": ('{"question": "q", "answer": [4]}', r"its answer is '\[4\]'; expected a text"),
    "a mapping": ('{"question": "q", "answer": {"a": 4}}', "expected a text"),
    "5,000 digits": ('{"question": "q", "answer": %s}' % ("9" * 5_000), "cannot be read: Exceeds the limit"),
    "nested lists": ('{"question": "q", "answer": %s}' % ("[" * 100_000), "is nested too deep"),
    "nested mappings": ('{"question": "q", "answer": %s}' % ('{"a":' * 100_000), "is nested too deep"),
    "half a pair": ('{"question": "q \\ud800", "answer": "4"}', "its question has .* at character 3, half of a pair"),
    "half a pair in the answer": ('{"question": "q", "answer": "4\\udc00"}', "its answer has"),
    "half a line": ('{"question": "q", "ans', "is no JSON: Unterminated string"),
    "another line": ("question,answer", "is no JSON"),
    "a list for a row": ('["q", "4"]', "expected a JSON object"),
    "a name twice": ('{"question": "q", "answer": "4", "answer": "5"}', "has the name 'answer' twice"),
    "a long line": (json.dumps({"question": "q", "answer": "4" * MAX_LINE}), "is longer than 1048576 characters"),
    "a very long line": (json.dumps({"question": "q", "answer": "4" * 9 * MAX_LINE}), "is longer than"),
    "no text": (b'{"question": "q", "answer": "\xff4"}', "is no UTF-8: invalid start byte at byte 30"),
}


def refused_and_dropped(path, at, capsys, **columns):
    """What a refusal says of the one faulty row, and what is left where such are dropped."""
    spec = {"source": str(path), **columns}
    with pytest.raises(ValueError) as refused:
        load_mixture({"math": spec})
    kept = math.problems(Settings(**spec, faulty="drop"))["train"]
    assert [problem.facts["answer"] for problem in kept] == [row["answer"] for row in GOOD]
    assert "1 faulty left out" in capsys.readouterr().err
    said = str(refused.value)
    assert "\n" not in said and len(said) < 1_000
    assert said.startswith((f"{path}, row {at}: ", f"{path}, line {at} ", f"{path}, row {at} ")), said
    assert "Mend it, or set `faulty: drop`" in said
    return said


@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize(("line", "message"), BROKEN_LINES.values(), ids=BROKEN_LINES.keys())
def test_a_faulty_line_is_named_or_dropped(tmp_path, capsys, line, message, at):
    lines = [text.encode() for text in LINES]
    lines.insert(at - 1, line if isinstance(line, bytes) else line.encode())
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=message):
        load_mixture({"math": {"source": str(path)}})
    refused_and_dropped(path, at, capsys)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ('["1", null]', "in its answer, entry 2 is null; expected a text"),
        ("[NaN]", "in its answer, entry 1 is nan; expected a text, or a number that is finite"),
        ('["1", "nan"]', "in its answer, entry 2 is 'nan', which stands for"),
        ('["1", " "]', "in its answer, entry 2 is ' '; expected a text"),
        ('[["1"]]', "in its answer, entry 1 is"),
        ('[{"a": 1}]', "in its answer, entry 1 is"),
        ("[true]", "in its answer, entry 1 is 'True'"),
        ("[]", r"its answer is '\[\]'; expected a list of texts"),
    ],
)
def test_each_of_several_answers_is_a_text_or_a_number(tmp_path, capsys, answer, message):
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join([*LINES, f'{{"question": "q", "answer": {answer}}}']))
    with pytest.raises(ValueError, match=message):
        load_mixture({"math": {"source": str(path), "several": True}})
    refused_and_dropped(path, 4, capsys, several=True)


def test_unknown_is_a_choice_where_a_missing_answer_is_none(tmp_path):
    path = tmp_path / "facts.jsonl"
    rows = [{"question": f"Is fact {at} true?", "answer": "Unknown", "no": "False"} for at in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems = math.problems(Settings(source=str(path), wrong=["no"]))["train"]
    assert len(problems) == 3 and all(") Unknown" in problem.prompt for problem in problems)
    path.write_text(json.dumps(rows[0] | {"answer": "TBD"}))
    with pytest.raises(ValueError, match="its answer is 'TBD', which stands for"):
        math.problems(Settings(source=str(path), wrong=["no"]))


def test_choices_that_are_the_same_are_a_fault(tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [{"question": "What is 1 + 1?", "answer": "2", "wrong": wrong} for wrong in ("3", " 2")]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"row 2: two of its choices are the same: '2', '2'"):
        load_mixture({"math": {"source": str(path), "wrong": ["wrong"]}})


def test_a_number_keeps_the_digits_that_a_float_has_not(tmp_path):
    path = tmp_path / "set.jsonl"
    numbers = {"1e-400": "1E-400", "0.30000000000000000001": "0.30000000000000000001", "0.1": "0.1", "1e22": "1e+22"}
    rows = [f'{{"question": "q{at}", "answer": {number}}}' for at, number in enumerate(numbers)]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    problems = math.problems(Settings(source=str(path)))["train"]
    assert [problem.facts["answer"] for problem in problems] == [*numbers.values()]


def test_a_whole_number_beyond_every_float_is_an_answer(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(f'{{"question": "What is it?", "answer": {10**400}}}')
    assert math.problems(Settings(source=str(path)))["train"][0].facts["answer"] == str(10**400)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "set.parquet"
    columns = [pa.array(["q"]), pa.array(["1"]), pa.array(["2"])]
    pq.write_table(pa.table(columns, names=["question", "answer", "answer"]), path)
    with pytest.raises(ValueError, match=r"set\.parquet has two columns 'answer'; either might be meant"):
        load_mixture({"math": {"source": str(path)}})


def test_a_damaged_parquet_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"question": ["q"], "answer": ["1"]}), path)
    content = bytearray(path.read_bytes())
    for place in range(4, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            load_mixture({"math": {"source": str(path)}})
        except ValueError as error:
            assert "\n" not in str(error)


TWO_AND_A_HALF = decimal.Decimal("2.5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([1.0, float("nan"), 3.0]), "its answer is nan"),
        (pa.array([1.0, float("inf"), 3.0]), "its answer is inf"),
        (pa.array(["1", None, "3"]), "its answer is null"),
        (pa.array(["1", "NaN", "3"]), "its answer is 'NaN'"),
        (pa.array([TWO_AND_A_HALF, None, TWO_AND_A_HALF]), "its answer is null"),
        (pa.StringArray.from_buffers(3, *pa.array([b"1", b"\xff", b"3"]).buffers()[1:]), "cannot be read: .*utf-8"),
    ],
)
def test_a_faulty_row_of_a_parquet_file_is_named_or_dropped(tmp_path, values, message):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"question": ["q1", "q2", "q3"], "answer": values}), path)
    with pytest.raises(ValueError, match=f"^{path}, row 2:? .*{message}.*faulty: drop"):
        load_mixture({"math": {"source": str(path)}})
    assert len(math.problems(Settings(source=str(path), faulty="drop"))["train"]) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([datetime.date(2001, 1, 1)]), "its answer is '2001-01-01'; expected a text"),
        (pa.array([10**15]).cast(pa.timestamp("s")), "row 1 cannot be read"),
        (pa.array([b"4"]), "expected a text"),
        (pa.array([[4]]), "expected a text"),
        (pa.array([{"a": 4}]), "expected a text"),
        (pa.array([True]), "expected a text"),
        (pa.array([10**15]).cast(pa.duration("s")), "row 1"),
    ],
)
def test_a_column_of_a_kind_that_is_no_answer_is_refused_with_its_first_row(tmp_path, values, message):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"question": ["q1"], "answer": values}), path)
    for faulty in ("refuse", "drop"):
        with pytest.raises(ValueError, match=f"{path}, row 1.*") as refused:
            math.problems(Settings(source=str(path), faulty=faulty))
        assert message in str(refused.value)


def test_decimals_are_numbers(tmp_path):
    path = tmp_path / "set.parquet"
    answers = pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")])
    pq.write_table(pa.table({"question": ["q1", "q2"], "answer": answers}), path)
    assert [p.facts["answer"] for p in math.problems(Settings(source=str(path)))["train"]] == ["1.50", "2.00"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_question_with_two_answers_is_named_with_both_and_none_is_believed(tmp_path, capsys):
    rows = [*GOOD, {"question": "Which?", "answer": "4"}, {"question": "which? ", "answer": "5"}]
    source = write(tmp_path / "set.jsonl", rows)
    message = "row 4: the same question has other answer elsewhere: '4' in .*, row 4, '5' in .*, row 5"
    with pytest.raises(ValueError, match=message):
        load_mixture({"math": {"source": source}})
    kept = math.problems(Settings(source=source, faulty="drop"))["train"]
    assert [p.facts["answer"] for p in kept] == [row["answer"] for row in GOOD]
    assert "2 faulty left out" in capsys.readouterr().err


def test_a_question_with_another_answer_in_another_split_is_said(tmp_path, capsys):
    write(tmp_path / "train.jsonl", [*GOOD, {"question": "Which?", "answer": "4"}])
    write(
        tmp_path / "test.jsonl", [{"question": "which? ", "answer": "5"}, {"question": "What is 1 + 1?", "answer": 2.0}]
    )
    kept = math.problems(Settings(source=str(tmp_path)))
    assert (len(kept["train"]), len(kept["test"])) == (4, 2)
    said = capsys.readouterr().err
    assert f"warning: {tmp_path}: 1 of its questions have another answer in another split" in said
    assert "'4' in train, '5' in test" in said or "'5' in test, '4' in train" in said


def test_a_question_that_comes_twice_with_one_answer_is_merged_and_said(tmp_path, capsys):
    rows = [*GOOD, {"question": "What is 1 + 1?", "answer": 2.0}, {"question": "What is 1 + 1?", "answer": "2 "}]
    kept = math.problems(Settings(source=write(tmp_path / "set.jsonl", rows)))["train"]
    assert [p.facts["answer"] for p in kept] == [row["answer"] for row in GOOD]
    assert "3 train (2 repeated left out)" in capsys.readouterr().err


def test_faults_are_told_in_the_order_of_the_rows_whichever_step_finds_them(tmp_path):
    source = write(tmp_path / "set.jsonl", [GOOD[0], {"question": "checked"}, {"question": None}, GOOD[1]])

    def make(values):
        question = text_of(values, "question", 99)
        return Problem("x", question, question, {})

    def check(problems):
        return ["it is checked." if problem.prompt == "checked" else None for problem in problems]

    with pytest.raises(ValueError, match=r"row 2: it is checked\. Mend it, .* \(2 here\)"):
        read_set(SetSettings(source=source), ["question"], make, check)
    assert len(read_set(SetSettings(source=source, faulty="drop"), ["question"], make, check)["train"]) == 2


def test_whatever_a_row_breaks_is_its_fault(tmp_path):
    source = write(tmp_path / "set.jsonl", GOOD)
    with pytest.raises(ValueError, match="row 1: it makes no problem: ZeroDivisionError: division by zero"):
        read_set(SetSettings(source=source), ["question"], lambda values: 1 / 0, lambda problems: [])


def test_rows_alone_that_lack_a_column_are_faulty_but_a_column_that_none_has_is_named(tmp_path):
    source = write(tmp_path / "set.jsonl", [{"question": "q"}, *GOOD])
    with pytest.raises(ValueError, match="row 1: its answer is null"):
        load_mixture({"math": {"source": source}})
    with pytest.raises(ValueError, match="has no column 'gold'; it has: question, answer"):
        load_mixture({"math": {"source": source, "answer": "gold"}})


OWN = """
from data.problem import Problem, Verdict
def verify(problem, answer): return Verdict(False, True, '')
def problems(settings): return {"train": [Problem("x", "p", "first", {"a": 1}), %s]}
"""


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("Problem('x', 'p', 'second', {'a': float('nan')})", "as problem 2 of train"),
        ("Problem('x', 'p', 'second', {'a': {1}})", "as problem 2 of train .TypeError"),
        ("Problem('x', 'p \\ud800', 'second', {})", "as problem 2 of train .UnicodeEncodeError"),
        ("'second'", "as problem 2 of train"),
        ("Problem('x', 'p', 'first', {'a': 2})", "two train problems, 1 and 2, with the same canonical text 'first'"),
    ],
)
def test_each_problem_of_a_module_is_looked_at(tmp_path, monkeypatch, second, message):
    monkeypatch.setattr(own, "LOADED", {})
    monkeypatch.setattr(own, "_TRIED", set())
    path = tmp_path / "mine.py"
    path.write_text(OWN % second)
    with pytest.raises(ValueError, match=message):
        load_mixture({str(path): {}})


def test_a_number_of_32_bits_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.parquet"
    answers = pa.array([0.1, 2.5, None], pa.float32())
    pq.write_table(pa.table({"question": ["1?", "2?", "3?"], "answer": answers}), path)
    drawn = math.problems(Settings(source=str(path), faulty="drop"))["train"]
    assert [problem.facts["answer"] for problem in drawn] == ["0.1", "2.5"]


def test_two_files_of_one_split_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "1?", "answer": "1"}\n')
    pq.write_table(pa.table({"question": ["2?"], "answer": ["2"]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"has train.jsonl and train.parquet; either might be meant"):
        math.problems(Settings(source=str(tmp_path)))


@pytest.mark.parametrize("answer", ["[object Object]", "Answers may vary.", "See figure"])
def test_words_in_place_of_an_answer_are_a_fault(tmp_path, answer):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "1?", "answer": answer}) + "\n")
    with pytest.raises(ValueError, match=r"row 1: its answer is .*, which stands for a value that is missing"):
        math.problems(Settings(source=str(path)))
