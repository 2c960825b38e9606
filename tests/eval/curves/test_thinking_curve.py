import json

import pytest

from eval.curves.thinking_curve import compare_sequential, crossover, parallel, s1_figures, sequential
from eval.probes.budget import Budget

BUDGETS = [Budget("at most 4", 4), Budget("at most 8", 8), Budget("Wait x1", 16, 1)]


def rows_of(hits, problems=30, tokens=10, answers=None):
    """Rows of every problem alike: sample i is right where `hits[i]`."""
    return [
        {
            "problem": f"p{number}", "greedy": False, "correct": hit, "format": True, "truncated": False,
            "reason": "", "answer": (answers or ["right" if hit else f"wrong {i}" for i, hit in enumerate(hits)])[i],
            "thinking_tokens": tokens, "answer_tokens": 2, "error": None, "first_correct": None, "right_attempt": False,
            "steps": 0, "right_steps": 0, "slips": 0, "repairs": 0, "attempts": 0, "subgoals": 0, "sample": i,
        }
        for number in range(problems)
        for i, hit in enumerate(hits)
    ]  # fmt: skip


def test_s1s_figures_are_those_of_the_paper_by_hand():
    # Three points: slopes 0.01, 0.005 and, between the outer two, 0.02 / 30.
    found = s1_figures([10, 20, 40], [0.2, 0.3, 0.2], [True, True, False, True])
    assert found["control"] == 0.75
    assert found["scaling"] == pytest.approx(((0.3 - 0.2) / 10 + (0.2 - 0.3) / 20 + 0) / 3)
    assert found["performance"] == 0.3


def test_a_curve_that_rises_and_then_falls_says_both():
    low, high, after = rows_of([0, 0, 0, 1]), rows_of([1, 1, 1, 0], tokens=20), rows_of([0, 0, 0, 0], tokens=40)
    found = sequential(BUDGETS, [low, high, after])
    assert found["rise"]["value"] == pytest.approx(0.5)
    assert found["extension"]["value"] == pytest.approx(-0.75)
    assert [point["thinking_tokens"]["value"] for point in found["points"]] == [10, 20, 40]
    assert found["s1"]["control"] == 0  # every budget was overrun


def test_two_models_are_compared_at_the_same_limits():
    base = [rows_of([0, 1]), rows_of([0, 1])]
    trained = [rows_of([1, 1]), rows_of([0, 0])]
    found = compare_sequential(base, trained)
    assert [gap["value"] for gap in found["above_each"]] == [0.5, -0.5]
    assert found["above"]["value"] == 0


def test_parallel_samples_are_charged_for_all_their_tokens():
    points = parallel(rows_of([1, 0, 0, 0], answers=["a", "b", "b", "b"]))
    assert [point["k"] for point in points] == [1, 2, 4]
    assert [point["tokens"] for point in points] == [12, 24, 48]
    assert [point["pass"]["value"] for point in points] == pytest.approx([0.25, 0.5, 1.0])
    assert [point["maj"]["value"] for point in points] == pytest.approx([0.25, 0.25, 0.0])


def test_the_crossover_is_said_in_words():
    narrow = [row for place in range(30) for row in rows_of([1, 1, 1, 1] if place < 18 else [0, 0, 0, 0], 1)]
    wide = [row for _ in range(30) for row in rows_of([1, 0, 0, 0], 1)]
    for place, (one, other) in enumerate(zip(narrow, wide, strict=True)):
        one["problem"] = other["problem"] = f"p{place // 4:02}"
    found = crossover(wide, narrow, "base")
    assert found["k"] == 4
    assert found["words"].startswith("The base model overtakes the trained one at k = 4 (-40.0 points")
    assert "cannot be told apart up to k = 4" in crossover(narrow, narrow, "base")["words"]
    above = crossover(rows_of([0, 0]), rows_of([1, 1]), "base")
    assert above["k"] is None and "does not overtake the trained one up to k = 2" in above["words"]
    assert json.loads(json.dumps(found)) == found


def test_a_base_that_leads_from_the_start_overtakes_nobody():
    found = crossover(rows_of([1, 1]), rows_of([0, 0]), "base")
    assert found["k"] == 1 and found["words"].startswith("The base model leads from k = 1 on (-100.0 points")


def test_a_gap_within_the_noise_is_no_lead():
    base = [row for place in range(30) for row in rows_of([place < 16], 1)]
    trained = [row for place in range(30) for row in rows_of([place < 15 or place == 29], 1)]
    trained = [row | {"correct": row["correct"] and place != 3 and place != 4} for place, row in enumerate(trained)]
    for place, (one, other) in enumerate(zip(base, trained, strict=True)):
        one["problem"] = other["problem"] = f"p{place:02}"
    found = crossover(base, trained, "base")
    assert found["gaps"][0]["value"] < 0 and found["k"] is None
    assert found["words"].startswith("The base model and the trained one cannot be told apart up to k = 1: at k = 1")
