import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.claims.conditions import judge
from eval.measures.estimators import paired_difference, ratio, trend, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes, trials, low, high):
    estimate = wilson(successes, trials)
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_symmetric_and_holds_the_rate(drawn):
    successes, trials = drawn
    estimate, mirrored = wilson(successes, trials), wilson(trials - successes, trials)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low == pytest.approx(1 - mirrored.high)


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        wilson(3, 2)


def test_the_bootstrap_agrees_with_the_normal_interval_of_independent_trials():
    rng = np.random.default_rng(1)
    hits = (rng.random(2_000) < 0.3).astype(float)
    estimate = ratio(hits, np.ones(2_000))
    half = 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / 2_000)
    assert estimate.low == pytest.approx(estimate.value - half, abs=0.002)
    assert estimate.high == pytest.approx(estimate.value + half, abs=0.002)


def test_samples_of_one_problem_are_not_counted_as_independent():
    rng = np.random.default_rng(0)
    hits = (rng.random(300) < 0.5).astype(float)
    once = ratio(hits, np.ones(300))
    eight_alike = ratio(8 * hits, np.full(300, 8.0))
    assert eight_alike.high - eight_alike.low == pytest.approx(once.high - once.low)
    assert eight_alike.count == 2_400


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        difficulty = rng.beta(1, 2, 150)  # mean 1/3, and alike within a problem
        estimate = ratio(rng.binomial(4, difficulty).astype(float), np.full(150, 4.0))
        covered += estimate.low <= 1 / 3 <= estimate.high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_rate_of_none_or_all_has_the_width_of_its_problems():
    none, every = ratio(np.zeros(50), np.full(50, 4.0)), ratio(np.full(50, 4.0), np.full(50, 4.0))
    assert (none.low, none.high) == (0, pytest.approx(wilson(0, 50).high))
    assert (every.low, every.high) == (pytest.approx(wilson(50, 50).low), 1)


@given(st.integers(1, 60), st.integers(1, 9).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))))
def test_a_share_that_is_alike_in_every_problem_has_the_width_of_its_problems(problems, drawn):
    right, size = drawn
    # Whole numbers, and the same shares as fractions, whose sums differ by rounding.
    for scale in (1.0, float(size)):
        found = ratio(np.full(problems, right / scale), np.full(problems, size / scale))
        edge = wilson(round(found.value * problems), problems)
        assert (found.low, found.high) == (edge.low, edge.high)
        assert found.low <= found.value <= found.high and found.value == pytest.approx(right / size)


@pytest.mark.parametrize(("right", "size"), [([2], 3), ([3, 3, 3], 4), ([0.7, 0.7, 0.7], 1), ([2, 0, 0], [3, 0, 0])])
def test_a_share_of_a_few_problems_that_are_alike_supports_nothing(right, size):
    found = ratio(np.array(right, float), np.zeros(len(right)) + size)
    assert judge(found, 0.5) == "inconclusive"


def test_a_mean_that_is_alike_in_every_problem_is_no_share():
    found = ratio(np.full(5, 36.0), np.full(5, 4.0))
    assert (found.value, found.low, found.high) == (9, 9, 9)


def test_gains_and_losses_that_cancel_are_no_rate_of_none():
    ones = np.ones(200)
    balanced, nearly = (np.repeat([1.0, -1.0, 0.0], [gained, 20, 180 - gained]) for gained in (20, 19))
    for signed in (False, True):
        one, other = ratio(balanced, ones, signed=signed), ratio(nearly, ones, signed=signed)
        half = 1.96 * np.sqrt(40 / 200 / 200)  # the normal interval of 20 gains and 20 losses
        assert (one.value, one.low, one.high) == (0, pytest.approx(-half, abs=0.005), pytest.approx(half, abs=0.005))
        assert one.low == pytest.approx(other.low, abs=0.011) and one.high == pytest.approx(other.high, abs=0.011)


def test_a_signed_measure_that_found_no_change_excludes_neither_a_gain_nor_a_loss():
    edge = wilson(0, 50).high
    for value, low, high in ((0, -edge, edge), (1, 1 - edge, 1), (-1, -1, edge - 1)):
        found = ratio(np.full(50, 4.0 * value), np.full(50, 4.0), signed=True)
        assert (found.value, found.low, found.high, found.count) == pytest.approx((value, low, high, 200))


def test_a_paired_difference_cancels_what_makes_problems_hard():
    rng = np.random.default_rng(0)
    difficulty = rng.beta(0.3, 0.3, 300)
    ones = np.full(300, 8.0)
    before, after = (rng.binomial(8, np.clip(difficulty + shift, 0, 1)).astype(float) for shift in (0, 0.05))
    paired = paired_difference((before, ones), (after, ones))
    assert paired.low <= paired.value <= paired.high
    unpaired = ratio(after, ones).high - ratio(after, ones).low
    assert paired.high - paired.low < 0.6 * unpaired * np.sqrt(2)


def test_with_as_many_samples_of_each_problem_the_bootstrap_agrees_with_the_paired_normal_interval():
    rng = np.random.default_rng(4)
    difficulty, sizes = rng.beta(1, 1, 500), np.full(500, 4.0)
    points = [rng.binomial(4, np.clip(difficulty + gain, 0, 1)).astype(float) for gain in (0, 0.05, 0.02, 0.1)]
    weights = np.array([-1.5, -0.5, 0.5, 1.5]) / 5 * 3  # of the least-squares slope, times three steps
    for estimate, each in [
        (paired_difference((points[0], sizes), (points[3], sizes)), (points[3] - points[0]) / 4),
        (trend([(point, sizes) for point in points]), weights @ np.array(points) / 4),
    ]:  # a weighted sum of means is the mean of the problems' own weighted sums
        half = 1.96 * each.std(ddof=1) / np.sqrt(500)
        assert estimate.value == pytest.approx(each.mean())
        assert estimate.low == pytest.approx(each.mean() - half, abs=0.003)
        assert estimate.high == pytest.approx(each.mean() + half, abs=0.003)


def test_the_same_samples_differ_by_nothing_as_far_as_so_few_problems_can_tell():
    same = (np.array([1.0, 0.0, 3.0]), np.full(3, 4.0))
    estimate = paired_difference(same, same)
    edge = wilson(0, 3).high
    assert (estimate.value, estimate.low, estimate.high) == (0, -edge, edge)


def test_a_rate_without_a_denominator_is_none():
    assert ratio(np.zeros(4), np.zeros(4)) is None
    assert paired_difference((np.zeros(4), np.zeros(4)), (np.ones(4), np.ones(4))) is None


def test_a_paired_comparison_needs_the_same_problems():
    with pytest.raises(ValueError, match="3 problems before and 4 after"):
        paired_difference((np.ones(3), np.ones(3)), (np.ones(4), np.ones(4)))


def test_the_trend_is_the_least_squares_line_and_of_two_points_their_difference():
    rng = np.random.default_rng(0)
    ones = np.full(200, 4.0)
    points = [(rng.binomial(4, rate, 200).astype(float), ones) for rate in (0.3, 0.35, 0.5, 0.45)]
    rates = [above.sum() / below.sum() for above, below in points]
    assert trend(points).value == pytest.approx(3 * np.polyfit(range(4), rates, 1)[0])
    assert trend(points).low > 0
    assert trend(points[:2]) == paired_difference(*points[:2])


def test_a_level_curve_has_a_trend_about_as_rarely_as_the_interval_says():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        difficulty = rng.beta(1, 2, 100)
        points = [(rng.binomial(4, difficulty).astype(float), np.full(100, 4.0)) for _ in range(4)]
        estimate = trend(points)
        found += not estimate.low <= 0 <= estimate.high
    assert found / 200 <= 0.09  # 5%, and what 200 trials can add by chance
