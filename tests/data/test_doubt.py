import random

import pytest

from data.doubt import MOST, rechecks


@pytest.mark.parametrize(("again", "count"), [(0, 1), (1, MOST)])
def test_a_result_is_rechecked_once_or_as_often_as_it_may(again, count):
    assert rechecks(1, again, random.Random(0)) == count


def test_the_mean_number_of_rechecks_follows_from_the_two_probabilities():
    rng = random.Random(0)
    counts = [rechecks(0.5, 0.8, rng) for _ in range(20_000)]
    assert sum(counts) / len(counts) == pytest.approx(0.5 * sum(0.8**k for k in range(MOST)), rel=0.03)


def test_without_rechecks_nothing_is_drawn():
    rng = random.Random(0)
    assert rechecks(0, 1, rng) == 0
    assert rng.random() == random.Random(0).random()
