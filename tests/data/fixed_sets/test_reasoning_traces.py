"""Reasoning traces in every shape that people share them in."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.fixed_sets.reasoning_traces import NoTrace, TraceSettings, read_traces, with_thinking

ASKED = [{"role": "user", "content": "2 + 2?"}]


def write(folder, *rows):
    path = folder / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*ASKED, {"role": "assistant", "content": "<think>\nfour\n</think>\n\n4"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, *ASKED,
                      {"role": "assistant", "content": "4", "reasoning_content": "four"}]},
        {"messages": [*ASKED, {"role": "assistant", "content": "4", "reasoning": "four"}]},
        {"messages": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "four\n</think>\n\n4"}]},
        {"prompt": "2 + 2?", "completion": "<thinking>\nfour\n</thinking>\n\n<answer>4</answer>"},
        {"prompt": ASKED, "completion": [{"role": "assistant", "content": "<think>\nfour\n</think>\n\n4"}]},
        {"problem": "2 + 2?", "solution": "4", "thinking": "four"},
        {"problem": "2 + 2?", "solution": "<|begin_of_thought|>\nfour\n<|end_of_thought|>\n\n"
                                          "<|begin_of_solution|>4<|end_of_solution|>"},
    ],
)  # fmt: skip
def test_every_shape_becomes_the_same_conversation_and_completion(tmp_path, row):
    (trace,) = read_traces(TraceSettings(source=write(tmp_path, row)))
    assert trace.conversation == ASKED
    assert trace.completion == "<think>\nfour\n</think>\n\n4"


def test_parquet_is_read_like_jsonl_and_other_columns_are_passed_over(tmp_path):
    rows = [{"prompt": "2 + 2?", "completion": "<think>four</think>4", "answer": "4", "source": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (trace,) = read_traces(TraceSettings(source=str(tmp_path / "t.parquet")))
    assert (trace.completion, trace.gold) == ("<think>four</think>4", "4")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "2 + 2?", "completion": "4"}, "without thinking"),
        ({"prompt": "", "completion": "4"}, "no conversation"),
        ({"messages": "hello"}, "no conversation"),
        ({"messages": [{"role": "wizard", "content": "4"}]}, "no conversation"),
        ({"messages": ASKED}, "no question"),
        ({"prompt": "2 + 2?", "completion": "<think>f</think>4", "task_problem": "{"}, "unreadable"),
        ({"prompt": "2 + 2?", "completion": "<think>\ud83d</think>4"}, "cut in half"),
        ({"prompt": "2 \ude00 2?", "completion": "<think>f</think>4"}, "cut in half"),
        ({"problem": "2 + 2?", "solution": "4", "thinking": "\ud83d"}, "cut in half"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "4", "reasoning": "\ud83d"}]}, "cut in half"),
        (
            {
                "messages": [
                    {"role": "user", "content": "\ud83d"},
                    {"role": "assistant", "content": "<think>f</think>4"},
                ]
            },
            "cut in half",
        ),
    ],
)
def test_a_row_that_is_no_trace_says_why(tmp_path, row, why):
    (reason,) = read_traces(TraceSettings(source=write(tmp_path, row)))
    assert isinstance(reason, NoTrace) and why in str(reason)


def test_a_source_without_any_of_the_columns_is_refused_with_those_that_are_read(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"row 1 holds no trace: it has only answer; expected messages; or prompt and completion",
    ):
        next(read_traces(TraceSettings(source=write(tmp_path, {"text": "x", "answer": "4"}))))


def test_no_more_of_a_file_is_read_than_is_asked_for(tmp_path):
    good = json.dumps({"prompt": "2 + 2?", "completion": "<think>four</think>4"})
    path = tmp_path / "traces.jsonl"
    path.write_text(good + "\nthis is no JSON\n")
    rows = read_traces(TraceSettings(source=str(path)))
    assert next(rows).completion == "<think>four</think>4"
    assert str(next(rows)) == "unreadable"


def test_what_has_our_tags_stays_as_it_is():
    assert with_thinking("<think> for 2 + 2 : so 4</think> 4") == "<think> for 2 + 2 : so 4</think> 4"
