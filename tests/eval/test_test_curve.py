import json

import pyarrow.parquet as pq
import pytest

from data.problem import Problem
from eval.candidate import load_candidate
from eval.test_curve import (
    Budget,
    budgets,
    compare_sequential,
    crossover,
    parallel,
    s1_figures,
    sample_budget,
    sequential,
)
from train.rollout.interface import Sampling

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


@pytest.fixture
def candidate(tmp_path, checkpoint):
    """A model that knows nothing, whose chat template opens the thinking for it."""
    found = load_candidate(str(checkpoint), tmp_path / "cache")
    found.tokenizer.chat_template = found.tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>'")
    return found


PROBLEMS = [
    Problem("countdown", f"numbers 2 6 {n} target 14", f"countdown 2 6 {n} = 14", {"numbers": [2, 6, n], "target": 14})
    for n in range(1, 9)
]


def thought(candidate, budget):
    """The rows of a budget, and the tokens that were written in the model's stead, sample by sample."""
    rows = sample_budget(candidate, PROBLEMS, 16, Sampling(16, candidate.stop_ids, seed=1), "", budget)
    written = pq.read_table(candidate.backend.folder).to_pylist()
    tokens = candidate.tokenizer.convert_ids_to_tokens
    return rows, [
        [tokens(token) for token, forced in zip(row["token_ids"], row["forced"], strict=True) if forced]
        for row in written
        if row["forced"]
    ]


def test_thinking_keeps_to_its_budget_and_the_answer_has_room(candidate):
    rows, written = thought(candidate, Budget("at most 5", 5))
    assert max(row["thinking_tokens"] for row in rows) == 5
    assert max(row["answer_tokens"] for row in rows) > 16 - 5  # more than training would have left
    assert {token for tokens in written for token in tokens} == {"</think>"}


def test_waiting_writes_the_word_that_the_model_knows_before_it_closes(candidate):
    _, written = thought(candidate, Budget("Wait x2", 30, 2))
    waits = [tokens.count(" wait") for tokens in written]
    assert set(waits) == {0, 1, 2}
    assert {token for tokens in written for token in tokens} == {" wait", "</think>"}


def test_a_model_whose_tags_are_no_single_tokens_is_named(candidate):
    names = candidate.tokenizer.get_vocab
    candidate.tokenizer.get_vocab = lambda: {name: i for name, i in names().items() if name != "</think>"}
    with pytest.raises(ValueError, match="has no single tokens <think> and </think>"):
        thought(candidate, Budget("at most 5", 5))


def test_budgets_rise_to_the_longest_completion_and_fit_the_context():
    found = budgets(192, 10_000)
    assert [budget.limit for budget in found] == [12, 24, 48, 96, 192, 384, 384, 384]
    assert [budget.waits for budget in found] == [0, 0, 0, 0, 0, 1, 2, 4]
    assert max(budget.limit for budget in budgets(192, 200)) == 200


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
    assert "does not overtake the trained one up to k = 4" in crossover(narrow, narrow, "base")["words"]
    assert json.loads(json.dumps(found)) == found
