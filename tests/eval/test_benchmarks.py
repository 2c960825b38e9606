"""Benchmarks by name, tested on small local files with the columns of the real ones."""

import json
import re

import pytest
import yaml

from data.tasks import get_task
from eval.benchmark_table import as_markdown
from eval.benchmarks import Result, contamination, read_benchmarks, source_of_benchmark
from eval.sampling.source import held_out
from eval.settings import benchmark_names

ALL = "gsm8k,math500,aime24,aime25,amc23,minerva,olympiadbench,gpqa,humaneval,mbpp"
ADD = "def add(a, b):\n    "
ROWS = {
    "gsm8k": [
        {"question": f"Ann has {n} cows and buys 2. How many?", "answer": f"So {n + 2}.\n#### {n + 2}"}
        for n in range(1, 4)
    ],
    "math500": [
        {"problem": f"What is $x$ if $x = {n}^2$?", "answer": str(n * n), "solution": "", "level": 1} for n in range(3)
    ],
    "aime24": [{"problem": f"Find $m + {n}$ for $m = 1$.", "answer": f"{n + 1:03d}", "year": "2024"} for n in range(3)],
    "aime25": [{"problem": f"Find $m + {n}$.", "answer": str(n), "id": str(n)} for n in range(3)],
    "amc23": [{"question": f"Find {n} doubled.", "answer": 2.0 * n, "id": n, "url": ""} for n in range(1, 4)],
    "minerva": [{"question": f"Mass {n}, in kg?", "answer": rf"{n} \times 10^{{3}}"} for n in range(1, 4)],
    "olympiadbench": [
        {"question": f"Solve for $x^2={n * n}$.", "final_answer": [f"{n}"], "context": None} for n in range(1, 4)
    ],
    "gpqa": [
        {
            "Question": f"Which is {n}?",
            "Correct Answer": f"the {n}th",
            "Incorrect Answer 1": "a",
            "Incorrect Answer 2": "b",
            "Incorrect Answer 3": "c",
        }
        for n in range(4, 12)
    ],
    "humaneval": [
        {
            "prompt": f'{ADD}"""Add them, number {n}."""\n',
            "entry_point": "add",
            "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(2, 2) == 4\n",
        }
        for n in range(3)
    ],
    "mbpp": [
        {
            "text": f"Write a function to add two numbers, number {n}.",
            "test_setup_code": "",
            "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 5) == 5"],
        }
        for n in range(3)
    ],
}
RIGHT = {
    "gsm8k": "3", "math500": "0", "aime24": "1", "aime25": "0", "amc23": "2", "minerva": "1000", "olympiadbench": "1",
    "humaneval": f"```python\n{ADD}return a + b\n```", "mbpp": f"```python\n{ADD}return a + b\n```",
}  # fmt: skip


def write(folder, name):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    return path


def problems(folder, name):
    path = write(folder, name)
    benchmark = read_benchmarks(name, [f"{name}={path}"])[name]
    return held_out(source_of_benchmark(name, benchmark), 100)


def test_every_benchmark_that_is_promised_has_a_file():
    assert set(benchmark_names()) == set(ALL.split(","))
    for name, benchmark in read_benchmarks(ALL).items():
        assert benchmark.samples == (32 if name in ("aime24", "aime25", "amc23") else benchmark.samples)
        assert re.fullmatch("[0-9a-f]{40}", benchmark.revision), f"{name} is not pinned to a commit"
    assert set(ROWS) == set(benchmark_names())


@pytest.mark.parametrize("name", RIGHT)
def test_rows_with_its_columns_become_problems_that_its_task_judges(tmp_path, name):
    asked = problems(tmp_path, name)
    assert len(asked) == len(ROWS[name])
    first = min(asked, key=lambda problem: problem.prompt)
    answer = RIGHT[name] if "```" in RIGHT[name] else rf"\boxed{{{RIGHT[name]}}}"
    assert get_task(first.task).verify(first, answer).correct
    assert not get_task(first.task).verify(first, r"\boxed{77}").correct


def test_a_choice_is_answered_by_the_letter_of_the_right_one_wherever_it_stands(tmp_path):
    asked = problems(tmp_path, "gpqa")
    letters = set()
    for problem in asked:
        right = problem.facts["answer"]
        letters.add(right)
        number = problem.prompt.split()[2].rstrip("?")
        assert f"({right}) the {number}th" in problem.prompt
        verify = get_task(problem.task).verify
        assert verify(problem, rf"\boxed{{{right}}}").correct
        assert not verify(problem, r"\boxed{%s}" % ("A" if right != "A" else "B")).correct
    assert len(letters) > 1


@pytest.mark.parametrize(
    ("chosen", "files", "words"),
    [
        ("gsm9k", [], "no benchmark 'gsm9k'; expected some of: aime24"),
        ("gsm8k", ["gsm8k"], "expected NAME=path.jsonl"),
        ("gsm8k", ["aime24=x.jsonl"], "expected NAME=path.jsonl"),
        ("gsm8k", ["gsm8k=nowhere.jsonl"], "nowhere.jsonl does not exist"),
    ],
)
def test_benchmarks_and_files_that_are_none_are_refused(chosen, files, words):
    with pytest.raises(ValueError, match=words):
        read_benchmarks(chosen, files)


def test_a_file_without_a_column_is_refused_by_its_name(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "1 + 1?", "solution": "2"}\n')
    benchmark = read_benchmarks("gsm8k", [f"gsm8k={path}"])["gsm8k"]
    with pytest.raises(ValueError, match="no column 'answer'"):
        source_of_benchmark("gsm8k", benchmark)


def test_problems_that_the_run_trained_on_or_began_with_are_counted(tmp_path):
    train, traces, asked_file = (tmp_path / f"{name}.jsonl" for name in ("train", "traces", "asked"))
    trained, imitated, new = (
        {"question": question, "answer": f"#### {answer}"}
        for question, answer in (
            ("Ann has three cows on her farm by the river and buys two more at the market. How many has she?", 5),
            ("A train of nine wagons loses four of them in a tunnel near the old mill. How many come out?", 5),
            ("Each shelf of the library holds seven red books beside one blue one. How many are on two shelves?", 16),
        )
    )
    train.write_text(json.dumps(trained) + "\n")
    traces.write_text(
        json.dumps({"prompt": imitated["question"], "completion": "<think>so 5</think> \\boxed{5}"}) + "\n"
    )
    asked_file.write_text("".join(json.dumps(row) + "\n" for row in (trained, imitated, new)))
    config = tmp_path / "config.yaml"
    spec = {"math:own": {"source": str(train), "splits": {"train": "train"}}}
    values = {"tasks": spec, "train_problems": 1, "cold_start_data": str(traces), "split_seed": 0}
    config.write_text(yaml.safe_dump(values))
    benchmark = read_benchmarks("gsm8k", [f"gsm8k={asked_file}"])["gsm8k"]
    asked = held_out(source_of_benchmark("gsm8k", benchmark), 100)
    assert contamination(asked, None) is None
    assert contamination(asked, config) == 2  # the third is new
    config.write_text(yaml.safe_dump(values | {"tasks": {"math": {"source": "nowhere.jsonl"}}}))
    assert "nowhere.jsonl" in contamination(asked, config)


def test_the_table_can_be_pasted_and_says_how_each_was_asked():
    benchmark = read_benchmarks("aime24")["aime24"]
    row = {"checkpoint": "a", "accuracy": 0.25, "interval": [0.1, 0.4], "greedy_accuracy": 0.3}
    pair = {"difference": 0.05, "interval": [-0.01, 0.11]}
    results = {
        "checkpoints": [row, row | {"checkpoint": "b|c", "accuracy": 0.3}],
        "pairs": [pair],
        "settings": {"problems": 29, "samples": 32, "temperature": 0.6},
    }
    table = as_markdown([Result("aime24", benchmark, 500, results, {"a": None, "b|c": 2})])
    assert "| model | AIME 2024, avg@32 |" in table
    assert "| a | 25.0 [10.0, 40.0] (greedy 30.0) |" in table
    assert "+5.0 [-1.0, +11.0]" in table and "b\\|c" in table
    assert "| 29 of 30 | 32 + 1 greedy | 0.6 | 500 (context) | HuggingFaceH4/aime_2024 @ 2fe88a2f1091 |" in table
    assert "a: training set unknown; b\\|c: 2" in table


def test_the_script_asks_two_benchmarks_from_local_files(tmp_path, checkpoint, script):
    files = [f"--benchmark-file={name}={write(tmp_path, name)}" for name in ("gsm8k", "aime24")]
    few = ("--samples", 2, "--max-new-tokens", 8, "--output", tmp_path / "o", "--processes", 1)
    done = script("evaluate", "--checkpoint", checkpoint, "--benchmark", "gsm8k,aime24", *files, *few)
    assert done.returncode == 0, done.stderr
    assert "GSM8K, avg@2 | AIME 2024, avg@2" in done.stdout
    assert (tmp_path / "o" / "benchmarks.md").read_text().strip() in done.stdout
    written = json.loads((tmp_path / "o" / "benchmarks.json").read_text())
    assert [each["results"]["settings"]["samples"] for each in written] == [2, 2]
