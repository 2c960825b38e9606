from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measures.at_k import maj_at_k, pass_at_k

VOTES = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=9)
RIGHT = st.sets(st.sampled_from("abcd"))


def majority(votes, right):
    """The credit of one set of votes, by counting."""
    counts = Counter(vote for vote in votes if vote is not None)
    best = [answer for answer, count in counts.items() if count == max(counts.values())]
    return Fraction(sum(answer in right for answer in best), len(best)) if best else Fraction(0)


@given(VOTES, RIGHT)
def test_each_is_the_mean_over_all_subsets(votes, right):
    hits = [vote in right for vote in votes]
    ks = range(1, len(votes) + 1)
    for k, found in zip(ks, maj_at_k(votes, right, ks), strict=True):
        subsets = list(combinations(range(len(votes)), k))
        assert found == pytest.approx(
            float(sum(majority([votes[i] for i in subset], right) for subset in subsets) / len(subsets))
        )
        passed = sum(any(hits[i] for i in subset) for subset in subsets) / len(subsets)
        assert pass_at_k(len(votes), sum(hits), k) == pytest.approx(passed)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_rises_from_the_accuracy_to_whether_any_is_right(drawn):
    samples, correct = drawn
    curve = [pass_at_k(samples, correct, k) for k in range(1, samples + 1)]
    assert curve[0] == pytest.approx(correct / samples)
    assert curve[-1] == (correct > 0)
    assert all(0 <= low <= high <= 1 for low, high in pairwise(curve))


def test_pass_at_k_is_the_product_that_its_paper_prints():
    # Chen et al. 2021, figure 3: 1 - prod(1 - k / arange(n - c + 1, n + 1)).
    assert pass_at_k(200, 13, 100) == pytest.approx(1 - np.prod(1 - 100 / np.arange(188, 201)))


def test_a_majority_of_many_samples_is_counted_without_loss():
    votes = ["a"] * 40 + ["b"] * 60 + [None] * 28
    found = maj_at_k(votes, {"a"}, [1, 3, 128])
    # By hand: of 3 samples two or three vote a; or one does, against at most silence; ties share.
    ways = {(a, b): (40, 60) for a in range(4) for b in range(4 - a)}
    total = sum(
        _choose(40, a) * _choose(60, b) * _choose(28, 3 - a - b) * (1 if a > b else 0.5 if a == b and a else 0)
        for a, b in ways
    )
    assert found == pytest.approx([40 / 128, total / _choose(128, 3), 0.0])


def _choose(n, k):
    return int(np.prod([Fraction(n - i, i + 1) for i in range(k)], initial=1))


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValueError, match="k is 5 with 4 samples"):
        pass_at_k(4, 2, 5)
    with pytest.raises(ValueError, match="k is 0 with 2 samples"):
        maj_at_k(["a", "b"], {"a"}, [0])
