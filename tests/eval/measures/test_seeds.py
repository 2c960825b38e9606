import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measures.estimators import Estimate
from eval.measures.seeds import across_seeds, t_quantile


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2.0, 4.303), (10, 2.228), (100, 1.984), (1e9, 1.960)])
def test_the_t_quantile_is_the_published_one(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-4)


def test_where_problems_explain_nothing_it_is_the_t_interval_of_the_seeds():
    found = across_seeds([Estimate(value, value, value, 400) for value in (0.2, 0.3, 0.4)])
    half = 4.303 * 0.1 / np.sqrt(3)  # s = 0.1, two degrees of freedom
    assert (found.low, found.high) == (pytest.approx(0.3 - half, abs=1e-4), pytest.approx(0.3 + half, abs=1e-4))
    assert found.count == 3


def test_problems_and_seeds_both_widen_the_interval_as_worked_out_by_hand():
    found = across_seeds([Estimate(value, value - 0.098, value + 0.098, 400) for value in (0.2, 0.3, 0.4)])
    # The problems' variance is (0.098 / 1.96)^2 = 0.0025, the seeds' 0.01 / 3, the root of both 0.07638. Degrees of
    # freedom: 2 (0.005833 / 0.003333)^2 = 6.125, between the tables' 2.447 at 6 and 2.365 at 7.
    half = found.high - found.value
    assert found.value == pytest.approx(0.3) and found.value - found.low == pytest.approx(half)
    assert half / 0.07638 == pytest.approx(2.435, abs=1e-3)


def test_equal_seeds_are_no_surer_than_one_since_they_share_their_problems():
    one = Estimate(0.3, 0.25, 0.35, 400)
    found = across_seeds([one, one, one])
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.25, 0.35))
    assert across_seeds([one]) is one


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5)), min_size=2, max_size=6))
def test_the_interval_holds_the_mean_and_is_no_narrower_than_a_seeds(drawn):
    found = across_seeds([Estimate(value, value - half, value + half, 100) for value, half in drawn])
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.mean([value for value, _ in drawn]))
    assert found.high - found.low >= 2 * min(half for _, half in drawn) - 1e-9


def test_an_interval_across_seeds_covers_the_truth_over_new_seeds_and_new_problems():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(500):
        problem, seed = rng.normal(0, 0.2, 80), rng.normal(0, 0.03, 3)
        gains = 0.1 + problem + seed[:, None] + rng.normal(0, 0.2, (3, 80))  # (seeds, problems)
        halves = 1.96 * gains.std(1, ddof=1) / np.sqrt(80)
        found = across_seeds(
            [Estimate(mean, mean - half, mean + half, 80) for mean, half in zip(gains.mean(1), halves, strict=True)]
        )
        covered += found.low <= 0.1 <= found.high
    assert covered / 500 >= 0.93
