from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import mixture
from data.mixture import apportion, demonstrations, draw_problems, judge, load_mixture
from data.problem import Problem
from data.splits import split_of
from data.tasks import TASKS
from data.tasks.arithmetic.problem import problem_of

BOTH = {"countdown": {}, "arithmetic": {"weight": 3}}


@pytest.mark.parametrize("seed", [0, 1])
def test_train_validation_and_test_share_no_problem(seed):
    parts = load_mixture(BOTH)
    drawn = {
        split: {p.canonical for order in range(3) for p in draw_problems(parts, split, 120, seed, order=order)}
        for split in ("train", "validation", "test")
    }
    assert not drawn["train"] & drawn["validation"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["validation"] & drawn["test"]


def test_demonstrations_come_from_train_problems_only():
    assert {split_of(p.canonical, 0) for p, _ in demonstrations(load_mixture(BOTH), 300, 0)} == {"train"}


def test_splits_have_their_shares():
    splits = [split_of(f"x {n}", 0) for n in range(5_000)]
    assert abs(splits.count("train") / 5_000 - 0.80) < 0.03
    assert abs(splits.count("test") / 5_000 - 0.15) < 0.03


def test_weights_share_out_the_problems():
    drawn = draw_problems(load_mixture(BOTH), "train", 400, 0)
    assert sum(p.task == "arithmetic" for p in drawn) == 300


@given(st.integers(0, 1_000), st.lists(st.floats(0.01, 100), min_size=1, max_size=12))
def test_shares_are_whole_near_their_quota_and_sum_to_the_count(count, weights):
    shares = apportion(count, weights)
    quotas = [count * weight / sum(weights) for weight in weights]
    assert sum(shares) == count
    assert all(share >= 0 and abs(share - quota) < 1 + 1e-9 for share, quota in zip(shares, quotas, strict=True))


def test_two_equal_tasks_are_shared_out_as_they_always_were():
    assert [apportion(count, [1, 1]) for count in range(6)] == [[0, 0], [0, 1], [1, 1], [2, 1], [2, 2], [2, 3]]


def test_fewer_problems_than_tasks_are_drawn_all_the_same():
    assert apportion(3, [1.0] * 5) == [1, 1, 1, 0, 0]
    parts = load_mixture({"countdown": {}}) * 5
    assert len(draw_problems(parts, "validation", 3, 0)) == 3


def test_a_weight_without_end_is_refused():
    with pytest.raises(ValueError, match="weight is inf"):
        load_mixture({"countdown": {"weight": float("inf")}})


def test_the_same_seeds_draw_the_same_problems_and_another_order_others():
    parts = load_mixture(BOTH)
    assert draw_problems(parts, "train", 50, 0, order=1) == draw_problems(parts, "train", 50, 0, order=1)
    assert draw_problems(parts, "train", 50, 0, order=1) != draw_problems(parts, "train", 50, 0, order=2)


def test_wording_and_order_do_not_make_another_problem():
    assert problem_of("7 * 8 + 3", 59).canonical == problem_of("3 + 8 * 7", 59).canonical


def test_too_few_test_problems_are_an_error_that_says_how_many_there_are():
    with pytest.raises(ValueError, match=r"has only [0-9]+ distinct test problems"):
        draw_problems(load_mixture({"countdown": {"numbers": 2, "largest": 5}}), "test", 500, 0)


def test_at_most_gives_each_test_problem_once():
    drawn = draw_problems(load_mixture({"countdown": {"numbers": 2, "largest": 5}}), "test", 500, 0, at_most=True)
    assert 0 < len(drawn) == len({problem.canonical for problem in drawn}) < 500


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "expected a mapping"),
        ({"chess": {}}, "Unknown task 'chess'; expected one of: arithmetic, countdown"),
        ({"countdown": {"size": 3}}, r"Unknown setting tasks\.countdown\.size"),
        ({"countdown": {"numbers": "3"}}, "expected a whole number"),
        ({"countdown": {"slip": True}}, "expected a number"),
        ({"countdown": {"weight": 0}}, "expected a positive number"),
        ({"countdown": {"weight": 1e308}}, "expected a positive number, at most 1,000,000"),
    ],
)
def test_a_wrong_mixture_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        load_mixture(spec)


def test_a_verifier_that_fails_says_so_and_never_scores(monkeypatch):
    def broken(problem, answer):
        raise RuntimeError("boom")

    monkeypatch.setitem(TASKS, "arithmetic", replace(TASKS["arithmetic"], verify=broken))
    problem = Problem("arithmetic", "compute 1 + 1", "x", {"expression": "1 + 1", "target": 2})
    verdict = judge(problem, "<think> a</think> 2")[1]
    assert not verdict.correct
    assert verdict.error == "RuntimeError: boom"


def test_problems_survive_json():
    problem = draw_problems(load_mixture(BOTH), "test", 1, 0)[0]
    assert Problem.from_json(problem.to_json()) == problem
    assert mixture.SHARES["train"] + mixture.SHARES["validation"] + mixture.SHARES["test"] == pytest.approx(1)


def test_a_number_that_yaml_reads_as_text_is_a_number():
    (part,) = load_mixture({"arithmetic": {"slip": "1e-2", "weight": "2e0"}})
    assert (part.settings.slip, part.weight) == (0.01, 2.0)
    with pytest.raises(ValueError, match=r"tasks\.arithmetic\.digits is '2e0'; expected a whole number"):
        load_mixture({"arithmetic": {"digits": "2e0"}})
