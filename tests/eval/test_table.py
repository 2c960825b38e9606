"""The console table of results.json."""

import pytest

from eval import table
from eval.measures.rates import as_json, compare, measure

TASKS = ("arithmetic", "countdown")


def sample(task: str, number: int, correct: bool, greedy: bool = False) -> dict:
    return {
        "task": task, "problem": f"{task} {number}", "greedy": greedy, "correct": correct, "first_correct": False,
        "right_attempt": correct,
        "right_steps": 3, "steps": 4, "slips": 1, "repairs": int(correct), "attempts": 2, "subgoals": 1, "format": True,
        "truncated": False, "thinking_tokens": 20 + number, "answer_tokens": 2, "error": None,
    }  # fmt: skip


def results(rates: list[int]) -> dict:
    """Each checkpoint solves `rate` of 20 problems in each task."""
    tables = [
        [sample(task, n, n < rate, greedy) for task in TASKS for n in range(20) for greedy in (False, True)]
        for rate in rates
    ]

    def of(rows: list[dict], task: str) -> list[dict]:
        return [row for row in rows if row["task"] == task]

    return {
        "settings": {"problems": 40, "samples": 1, "temperature": 1.0, "max_new_tokens": 64, "split": "test"},
        "checkpoints": [
            {
                "checkpoint": f"runs/a/checkpoints/{'cold-start' if not number else f'checkpoint-{number}'}",
                "measures": as_json(measure(rows)),
                "tasks": {task: as_json(measure(of(rows, task))) for task in TASKS},
            }
            for number, rows in enumerate(tables)
        ],
        "pairs": [
            {
                "problems": 40,
                "samples": 1,
                "measures": as_json(compare(tables[0], rows)),
                "tasks": {task: as_json(compare(of(tables[0], task), of(rows, task))) for task in TASKS},
            }
            for rows in tables[1:]
        ],
    }


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
    assert [lines.count(title) for title in ("all tasks", *TASKS)] == [2, 2, 2]


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
