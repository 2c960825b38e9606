import json

import numpy as np
import pytest

from eval.curves.thinking_curve import (
    area_between,
    beyond_start,
    compare_sequential,
    crossover,
    parallel,
    parallel_areas,
    reliability,
    s1_figures,
    sequential,
)
from eval.probes.budget import HABIT, Budget

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


def level(tokens, *rates, problems=30):
    """A curve: each of `problems` problems has the same rate at a point."""
    ones = np.ones(problems)
    return [(at, (rate * ones, ones)) for at, rate in zip(tokens, rates, strict=True)]


def test_the_area_between_curves_is_their_mean_distance_over_log_tokens():
    base, trained = level((10, 100), 0.2, 0.2), level((10, 100), 0.2, 0.6)
    assert area_between(base, trained).value == pytest.approx(0.2)
    # The base needs no more than 10 tokens: it stays level where the trained model goes on to 1,000.
    short, long = level((1, 10), 0.1, 0.5), level((10, 1000), 0.5, 0.7)
    assert area_between(short, long).value == pytest.approx(0.1)
    assert area_between(trained, trained).value == 0


def test_a_longer_thinker_is_not_above_for_its_tokens_alone():
    """One sample of twice the tokens is held against two of the other: the points are at equal tokens."""
    base, trained = rows_of([1, 0, 1, 0], tokens=10), rows_of([1, 0, 1, 0], tokens=22)
    found = parallel_areas(base, trained)
    assert found["pass"]["value"] < 0
    assert parallel_areas(base, base)["pass"]["value"] == 0


def test_cover_is_the_share_of_problems_solved_that_reliably():
    rows = [row | {"problem": f"{row['problem']} {kind}"} for kind, hits in enumerate(([1, 1, 1, 1], [1, 1, 0, 0]))
            for row in rows_of(hits, 10)]  # fmt: skip
    assert {point["tau"]: point["cover"]["value"] for point in reliability(rows)} == {
        0.25: 1, 0.5: 1, 0.75: 0.5, 0.9: 0.5, 1.0: 0.5
    }  # fmt: skip


def test_thinking_longer_than_the_habit_is_asked_apart_from_more_room_and_waiting():
    limits = [Budget(HABIT, 4), Budget("at most 8", 8), Budget("up to 32", 32, more=24), Budget("Wait x1", 16, 1)]
    tables = [rows_of(hits, tokens=n) for hits, n in (([0, 0], 4), ([0, 1], 8), ([1, 1], 20), ([0, 0], 16))]
    found = sequential(limits, tables)
    assert [found[name]["value"] for name in ("beyond_habit", "room", "wait")] == [1, 0.5, -0.5]
    short = sequential(limits[1:2], tables[1:2])
    assert [short[name] for name in ("beyond_habit", "room", "wait")] == [None] * 3


def test_the_largest_budget_is_held_against_the_start_that_no_budget_cuts():
    limits = [Budget(HABIT, 4), Budget("at most 8", 8), Budget("up to 32", 32, more=24), Budget("Wait x1", 16, 1)]
    trained = [rows_of(hits) for hits in ([0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0])]
    assert beyond_start(limits, rows_of([1, 0]), trained)["beyond_start"]["value"] == pytest.approx(0.25)
