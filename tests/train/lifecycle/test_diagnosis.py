"""What a run says of itself at its end: the course of the reward, and each cause with its figure."""

import json
import random

import pytest
import yaml

from train.lifecycle.diagnosis import diagnose, diagnosis

HEALTHY = {
    "format": 0.99, "truncated": 0.01, "useful_groups": 0.7, "entropy": 0.3, "repetition": 0.03, "grad_norm": 0.01,
    "learning_rate": 3e-4, "verifier_errors": 0.0, "nonfinite_steps": 0.0,
}  # fmt: skip


def written(folder, accuracy, evaluated=(), config=None, **changes):
    """A run folder whose steps have these accuracies; each change is a value, or one for each step."""
    rng = random.Random(0)
    rows = []
    for number, share in enumerate(accuracy):
        row = HEALTHY | {name: value[number] if isinstance(value, list) else value for name, value in changes.items()}
        right = min(1.0, max(0.0, share + rng.gauss(0, 0.01)))
        rows.append({"phase": "rl", "step": number + 1, "reward": right, "rewards/correct/mean": right} | row)
    rows += [{"phase": "rl", "step": step, "eval_accuracy": share} for step, share in evaluated]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"max_completion_length": 320, "max_grad_norm": 0.05} | (config or {}))
    )
    return diagnose(folder)


def ramp(first, last, count=40):
    return [first + (last - first) * number / (count - 1) for number in range(count)]


def test_a_run_that_learnt_is_said_to_have_risen_and_nothing_is_blamed(tmp_path):
    says, *causes = written(tmp_path, ramp(0.1, 0.6))
    assert says.startswith("Accuracy in training rose from 1") and "(steps 33 to 40)" in says and not causes


def test_a_fall_is_told_from_its_peak_with_the_rate(tmp_path):
    says, *causes = written(tmp_path, [*ramp(0.1, 0.6, 30), *ramp(0.6, 0.1, 20)], grad_norm=0.2)
    assert says.startswith("Accuracy in training fell from 5")
    assert "clipped to 0.05 in 100% of the steps" in causes[-1] and "halve the learning rate" in causes[-1]


@pytest.mark.parametrize(
    ("accuracy", "changes", "words"),
    [
        (0.0, {"useful_groups": 0.01}, "All wrong: 0."),
        (0.99, {"useful_groups": 0.05}, "All right: 9"),
        (0.2, {"format": 0.4}, "Format: 60% of the answers break the form"),
        (0.2, {"truncated": ramp(0.1, 0.7), "format": 0.3}, "(at first 1"),
        (0.2, {"useful_groups": 0.1}, "Groups: in 90% of them"),
        (0.2, {"entropy": ramp(0.5, 0.01)}, "samples of a problem hardly differ"),
        (0.2, {"entropy": ramp(0.3, 2.0)}, "the model is coming apart"),
        (0.2, {}, "the model hardly moves"),
        (0.2, {"repetition": ramp(0.05, 0.6)}, "Loops: 5"),
        (0.2, {"verifier_errors": 0.05}, "Verifier: it failed on 5.0%"),
        (0.2, {"nonfinite_steps": ramp(0, 2)}, "Numbers: 2 steps"),
    ],
)
def test_a_flat_reward_has_its_cause_named(tmp_path, accuracy, changes, words):
    says, *causes = written(tmp_path, [accuracy] * 40, **changes)
    assert "stayed flat" in says
    assert any(words in cause for cause in causes), causes


@pytest.mark.parametrize(
    ("accuracy", "changes", "only"),
    [
        (1.0, {"useful_groups": 0.0, "entropy": 0.01}, "All right"),  # nothing new need be tried
        (0.2, {"truncated": 0.4}, "Truncation"),
        (0.2, {"verifier_errors": 0.3}, "Verifier"),
        (0.2, {"nonfinite_steps": 5.0}, "Numbers"),
        (0.2, {"format": 0.4}, "Format"),
    ],
)
def test_advice_is_of_one_mind_where_there_is_one_cause(tmp_path, accuracy, changes, only):
    causes = written(tmp_path, [accuracy] * 40, **changes)[1:]
    assert [cause.strip(" -").partition(":")[0] for cause in causes] == [only]


def test_a_flat_run_without_a_usual_cause_is_sent_to_its_rollouts(tmp_path):
    (cause,) = written(tmp_path, [0.2] * 40, entropy=ramp(0.5, 0.3))[1:]
    assert "Read its newest rollouts" in cause and "entropy 0.4" in cause and "gradient norm 0.01" in cause


def test_a_figure_that_is_not_finite_is_left_out(tmp_path):
    norms = [float("nan"), float("inf"), *[0.01] * 38]
    says, *causes = written(tmp_path, [0.2] * 40, grad_norm=norms, entropy=[float("nan"), *[0.3] * 39])
    assert "nan" not in " ".join([says, *causes]) and "gradient norm 0.01" in causes[-1]


def test_answers_that_are_cut_off_are_not_blamed_on_their_form(tmp_path):
    causes = written(tmp_path, [0.2] * 40, truncated=0.7, format=0.3)[1:]
    assert any("Truncation" in cause for cause in causes) and not any("Format" in cause for cause in causes)


def test_where_problems_are_chosen_the_validation_problems_tell(tmp_path):
    evaluated = [(step, 0.1 + step / 100) for step in range(5, 45, 5)]
    says = written(tmp_path, [0.5] * 40, evaluated, {"dynamic_sampling": True})[0]
    assert says.startswith("Accuracy on validation problems rose from 2")


def test_few_steps_say_nothing_of_learning_and_none_nothing_at_all(tmp_path):
    assert "3 values are too few" in written(tmp_path, [0.1, 0.2, 0.3])[0]
    assert written(tmp_path, [0.3])[0].endswith("at step 1. One step is too few to say whether it learns.")
    assert written(tmp_path, []) == []
    (tmp_path / "metrics.jsonl").write_text("{\n")
    assert diagnosis(tmp_path) == ""
