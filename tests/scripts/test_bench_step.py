"""The benchmark of one whole step."""

import json

import pytest
import yaml
from resuming import reward_anything, write_config

from eval.speed import steps_beside_trl
from train.rewards.correctness import CorrectnessReward


def test_a_step_of_stock_trl_and_of_ours_are_put_side_by_side(checkpoint, tmp_path, script):
    config = tmp_path / "tiny.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "model": str(checkpoint),
                "tasks": {"arithmetic": None},
                "train_problems": 20,
                "validation_problems": 0,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 4,
                "num_generations": 4,
                "max_completion_length": 12,
                "use_cpu": True,
            }
        )
    )
    figures = tmp_path / "step.json"
    done = script("bench_step", "--config", config, "--steps", 1, "--json", figures)
    assert done.returncode == 0, done.stderr
    result = json.loads(figures.read_text())
    assert result["rows"] == 16
    for name in ("ours", "stock"):
        assert all(seconds > 0 for seconds in result["seconds"][name].values())
    assert result["ratio"] == result["seconds"]["stock"]["total"] / result["seconds"]["ours"]["total"]
    assert result["max_gradient_gap"] is None  # a random model is never right, so nothing was compared
    assert "every gradient was 0" in done.stdout


def bench(monkeypatch, checkpoint, tmp_path, **values):
    """What the script finds in this process, where any odd completion is rewarded."""
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()
    given = {"model": str(checkpoint), "scratch": None, "max_completion_length": 12, "name": "x"} | values
    return steps_beside_trl.bench(["--config", str(write_config(tmp_path, **given))], 1)


@pytest.mark.parametrize("values", [{}, {"lora_rank": 2, "lora_alpha": 8}], ids=["all weights", "adapters"])
def test_the_two_gradients_are_compared_and_are_the_same(monkeypatch, checkpoint, tmp_path, values):
    result = bench(monkeypatch, checkpoint, tmp_path, **values)
    assert result["largest_gradient"] > 1e-4
    assert result["max_gradient_gap"] <= 1e-5


@pytest.mark.parametrize(
    "values", [{"dynamic_sampling": True}, {"thinking_budget": 4}], ids=lambda values: next(iter(values))
)
def test_what_stock_trl_cannot_do_is_refused(monkeypatch, checkpoint, tmp_path, values):
    with pytest.raises(ValueError, match=next(iter(values))):
        bench(monkeypatch, checkpoint, tmp_path, **values)


def test_a_config_that_is_none_is_one_clear_line(script):
    done = script("bench_step", "--config", "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Config file nowhere.yaml does not exist")
