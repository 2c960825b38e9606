"""The console table of results.json."""

import pytest

from eval import table
from eval.evaluate import Settings, summarise
from eval.sampling.decodings import Decodings

TASKS = ("arithmetic", "countdown")


def sample(task: str, number: int, correct: bool, greedy: bool = False) -> dict:
    return {
        "task": task, "problem": f"{task} {number}", "greedy": greedy, "correct": correct, "first_correct": False,
        "right_attempt": correct,
        "right_steps": 3, "steps": 4, "slips": 1, "repairs": int(correct), "attempts": 2, "subgoals": 1, "format": True,
        "truncated": False, "thinking_tokens": 20 + number, "answer_tokens": 2, "error": None,
    }  # fmt: skip


def results(rates: list[int], best: float = 1.0) -> dict:
    """Each checkpoint solves `rate` of 20 problems in each task, at whatever temperature; `best` is its best one."""
    tables = []
    for rate in rates:
        drawn, greedy = (
            [sample(task, n, n < rate, mark) for task in TASKS for n in range(20)] for mark in (False, True)
        )
        tables.append(Decodings({0.0: greedy, 0.6: drawn, 1.0: drawn}, {}, best))
    settings = Settings(problems=40, samples=1, max_new_tokens=64)
    names = [f"runs/a/checkpoints/{f'checkpoint-{number}' if number else 'cold-start'}" for number in range(len(rates))]
    return summarise(names, tables, settings)


def test_a_gain_is_shown_in_points_and_said_to_be_clear_of_zero():
    text = table.render(results([5, 15]))
    accuracy = [line for line in text.splitlines() if line.split()[:1] == ["accuracy"]]
    assert "25.0%" in accuracy[0] and "75.0%" in accuracy[0]
    change = next(line for line in accuracy if "points" in line)
    assert "+50.0 points" in change and change.endswith("clear of zero")


def test_no_change_is_said_to_be_within_noise():
    text = table.render(results([10, 10]))
    change = next(line for line in text.splitlines() if line.split()[:1] == ["accuracy"] and "points" in line)
    assert " 0.0 points" in change and change.endswith("within noise")


def test_a_rate_of_nothing_is_a_dash():
    text = table.render(results([5, 15]))
    line = next(line for line in text.splitlines() if "c→i" in line)
    assert line.count("–") == 2 and "%" not in line


@pytest.mark.parametrize("rates", [[5], [5, 15], [5, 15, 6, 7, 8]])
def test_the_table_fits_100_columns_and_names_every_checkpoint(rates):
    found = results(rates)
    text = table.render(found)
    assert max(map(len, text.splitlines())) <= 100
    assert all(row["checkpoint"].rsplit("/", 1)[1] in text for row in found["checkpoints"])
    assert text.count("paired by problem") == len(rates) - 1


def test_every_task_has_its_part():
    lines = table.render(results([5, 15])).splitlines()
    assert [lines.count(f"{title}, at temperature 1") for title in ("all tasks", *TASKS)] == [2, 2, 2]


@pytest.mark.parametrize(("best", "words"), [(0.0, "greedy against greedy"), (0.6, "temperature 0.6")])
def test_the_best_decoding_comes_first_and_is_named(best, words):
    text = table.render(results([5, 15], best))
    best_at, plain_at = text.index("each at its best decoding"), text.index("at temperature 1\n")
    assert best_at < plain_at and words in text
    line = next(line for line in text.splitlines() if line.startswith("  accuracy, countdown"))
    assert "25.0%" in line and "75.0%" in line


def test_names_are_as_short_as_they_can_be():
    assert table.short_names(["runs/a/checkpoints/cold-start", "runs/a/checkpoints/checkpoint-9"]) == [
        "cold-start",
        "checkpoint-9",
    ]
    assert table.short_names(["runs/a/checkpoints/checkpoint-9", "runs/b/checkpoints/checkpoint-9/"]) == [
        "a/checkpoint-9",
        "b/checkpoint-9",
    ]
    assert table.short_names(["Qwen/Qwen3-0.6B"]) == ["Qwen3-0.6B"]
    assert table.short_names(["a", "a"]) == ["a", "a"]


def test_a_bound_just_off_zero_does_not_read_as_zero():
    change = {"value": -0.2, "low": -0.3, "high": -0.04, "count": 9}
    assert table.show_change_interval("slips", change) == "−0.3 to −0.04"
    assert table.noise_word(change) == "clear of zero"


def test_an_interval_that_no_resample_could_give_is_no_figure():
    assert table.show_change("accuracy", {"value": 0.1, "low": float("nan"), "high": float("nan"), "count": 9}) == "–"
    assert not table.clear(None)
