import pytest
from transformers import TrainerControl, TrainerState

from train.lifecycle.guards import WINDOW, ReportingGuards

STEADY = {
    "frac_reward_zero_std": 0.3,
    "entropy": 1.0,
    "thinking_tokens": 60.0,
    "logprob_gap/mean": 1e-6,
    "repetition": 0.3,
    "truncated": 0.1,
}


def feed(callback, rows, start=1):
    """Log the rows, one a step; returns the marks of each."""
    state, control, marks = TrainerState(), TrainerControl(), []
    state.is_world_process_zero = True
    for state.global_step, row in enumerate(rows, start):
        logs = dict(row)
        callback.on_log(None, state, control, logs)
        marks.append(sorted(name for name in logs if name.startswith("guard/")))
    return marks


@pytest.mark.parametrize(
    ("name", "metric", "value"),
    [
        ("no_variance", "frac_reward_zero_std", 1.0),
        ("entropy_collapse", "entropy", 0.05),
        ("thinking_collapse", "thinking_tokens", 5.0),
        ("thinking_runaway", "thinking_tokens", 300.0),
        ("logprob_gap", "logprob_gap/mean", 0.02),
        ("repetition", "repetition", 0.8),
        ("truncated", "truncated", 0.7),
    ],
)
def test_each_guard_marks_its_own_trouble_and_says_it_once(capsys, name, metric, value):
    callback = ReportingGuards()
    marks = feed(callback, [STEADY] * WINDOW + [STEADY | {metric: value}] * 2 * WINDOW)
    assert not any(marks[:WINDOW])
    assert marks[-1] == [f"guard/{name}"]
    said = capsys.readouterr().err
    assert said.count("warning: step") == 1
    assert all(not mark for mark in feed(callback, [STEADY] * WINDOW)[-1:])  # it has passed


@pytest.mark.parametrize("not_a_number", [float("nan"), float("inf")])
def test_one_value_that_is_not_finite_silences_no_guard(not_a_number):
    rows = [dict.fromkeys(STEADY, not_a_number)] + [STEADY] * WINDOW + [STEADY | {"entropy": 0.01}] * WINDOW
    assert feed(ReportingGuards(), rows)[-1] == ["guard/entropy_collapse"]


def test_noise_trips_no_guard():
    noisy = [{key: value * (0.6 + 0.2 * (i % 5)) for key, value in STEADY.items()} for i in range(60)]
    assert not any(feed(ReportingGuards(), noisy))


def test_a_resumed_run_goes_on_from_what_was_logged_and_said(capsys):
    history = [STEADY] * WINDOW + [STEADY | {"entropy": 0.01}] * WINDOW
    callback = ReportingGuards()
    callback.on_train_begin(None, TrainerState(log_history=history), TrainerControl())
    assert feed(callback, [STEADY | {"entropy": 0.01}]) == [["guard/entropy_collapse"]]
    assert not capsys.readouterr().err
