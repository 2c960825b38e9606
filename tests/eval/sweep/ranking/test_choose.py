"""Which settings are tried and which trials given up: the same whatever finishes first."""

import pytest
from optuna.trial import TrialState, create_trial
from stubbed import spec

from eval.sweep.setup.spec import Prune
from eval.sweep.trials.choose import propose, pruned_at

SEARCH = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "num_generations": [4, 8, 16]}


def over(spec, params, value, curve=None, state=TrialState.COMPLETE):
    distributions = {dimension.field: dimension.distribution for dimension in spec.space}
    return create_trial(
        params=params,
        distributions=distributions,
        value=value if state == TrialState.COMPLETE else None,
        intermediate_values=curve or {},
        state=state,
    )


def whole(spec, count):
    """All trials of a sweep whose value falls with the learning rate, each knowing what it may."""
    taken, known = [], []
    for number in range(count):
        taken.append(propose(spec, number, taken, known[: max(0, number - spec.at_once + 1)]))
        known.append(over(spec, taken[-1], -taken[-1]["learning_rate"]))
    return taken


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_sweep_tries_the_same_settings_and_another_seed_others(method):
    once = whole(spec(search=SEARCH, method=method, trials=8), 8)
    assert once == whole(spec(search=SEARCH, method=method, trials=8), 8)
    assert once != whole(spec(search=SEARCH, method=method, trials=8, seed=1), 8)


def test_a_trial_is_the_same_whether_those_beside_it_are_over_or_not():
    found = spec(search=SEARCH, method="tpe", trials=9, at_once=3)
    taken = whole(found, 9)
    known = [over(found, params, -params["learning_rate"]) for params in taken[:6]]
    assert propose(found, 8, taken[:8], known) == taken[8]
    assert propose(found, 8, taken[:8], known) == taken[8]  # however often it is asked


def test_tpe_comes_nearer_to_what_is_best():
    taken = whole(spec(search=SEARCH, method="tpe", trials=24, startup=8, at_once=1), 24)
    rates = [params["learning_rate"] for params in taken]
    assert sorted(rates[8:])[8] < sorted(rates[:8])[4] / 2  # the median, by a factor


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_no_setting_is_tried_twice_and_when_none_is_left_there_is_none(method):
    few = spec(search={"a": [1, 2], "b": [1, 2, 3]}, method=method, trials=6)
    taken, known = [], []
    for number in range(6):
        taken.append(propose(few, number, taken, known))
        known.append(over(few, taken[-1], 0.0))
    assert len({tuple(params.items()) for params in taken}) == 6
    assert propose(few, 6, taken, known) is None


def curves(found, heights):
    params = {"learning_rate": 1e-3, "num_generations": 4}
    return [over(found, params, height, {2: height / 2, 4: height}) for height in heights]


def test_a_trial_below_the_median_is_given_up_at_the_first_step_that_shows_it():
    found = spec(search=SEARCH, method="random", trials=8, prune=Prune(after=3))
    known = curves(found, [0.4, 0.6, 0.8])
    assert pruned_at(found, known, {2: 0.35, 4: 0.5}) == 4
    assert pruned_at(found, known, {2: 0.2, 4: 0.9}) == 2
    assert pruned_at(found, known, {2: 0.35, 4: 0.7}) is None
    assert pruned_at(found, known[:2], {2: 0.0}) is None  # too few to judge by
    later = spec(search=SEARCH, method="random", trials=8, prune=Prune(after=3, from_step=4))
    assert pruned_at(later, known, {2: 0.2, 4: 0.7}) is None


def test_less_is_better_where_the_sweep_says_so():
    found = spec(search=SEARCH, method="random", trials=8, prune=Prune(after=3), direction="minimize")
    assert pruned_at(found, curves(found, [0.4, 0.6, 0.8]), {2: 0.35}) == 2
    assert pruned_at(found, curves(found, [0.4, 0.6, 0.8]), {2: 0.1}) is None


def test_successive_halving_lets_the_best_third_go_on():
    found = spec(search=SEARCH, method="random", trials=8, prune=Prune("asha", after=3, from_step=2, factor=3))
    known = curves(found, [0.2, 0.4, 0.6, 0.7, 0.8])
    assert pruned_at(found, known, {2: 0.1}) == 2
    assert pruned_at(found, known, {2: 0.45, 4: 0.9}) is None


def test_failed_trials_count_neither_for_the_choice_nor_against_a_trial():
    found = spec(search=SEARCH, method="tpe", trials=8, startup=1, prune=Prune(after=1))
    params = {"learning_rate": 1e-3, "num_generations": 4}
    failed = over(found, params, None, {2: 0.9}, TrialState.FAIL)
    assert pruned_at(found, [failed], {2: 0.1}) is None
    assert propose(found, 1, [params], [failed]) is not None
