"""Steps whose numbers are not finite, in real runs of the trainer."""

import json
import math

import pytest
import torch
from resuming import launch, reward_anything, write_config
from safetensors.torch import load_file
from trl import GRPOTrainer

from train.lifecycle.nonfinite import likely_cause
from train.rewards.correctness import CorrectnessReward
from train.trainer import ReasoningTrainer


@pytest.fixture
def poisoned(tmp_path, monkeypatch, capfd):
    """Run five steps, of which `steps` get this factor on their loss; gives the exit code, the run and what it said."""

    def run(steps, factor, **values):
        compute = GRPOTrainer._compute_loss

        def loss(self, model, inputs):
            return compute(self, model, inputs) * (factor if self.state.global_step + 1 in steps else 1.0)

        monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
        reward_anything()
        monkeypatch.setattr(GRPOTrainer, "_compute_loss", loss)
        config = write_config(
            tmp_path, max_steps=5, save_steps=1, cold_start_steps=0, eval_strategy="no", max_grad_norm=0.1, **values
        )
        code = launch(config, "--name", "run")
        return code, tmp_path / "run", capfd.readouterr().err

    return run


def state(run, step):
    """Weights and moments after a step."""
    checkpoint = run / "checkpoints" / f"checkpoint-{step}"
    moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return load_file(checkpoint / "model.safetensors") | {
        f"{i}.{name}": value for i, kept in moments.items() for name, value in kept.items()
    }


@pytest.mark.parametrize("factor", [math.nan, math.inf, 3e38])  # the last one: a finite loss with an infinite gradient
def test_a_step_that_is_not_finite_changes_nothing_and_the_run_goes_on(poisoned, factor):
    code, run, _ = poisoned({3}, factor)
    assert code == 0
    after = {step: state(run, step) for step in (2, 3, 4)}
    assert all(torch.equal(value, after[3][name]) for name, value in after[2].items())
    assert not all(torch.equal(value, after[4][name]) for name, value in after[3].items())
    assert all(value.isfinite().all() for value in after[4].values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["nonfinite_steps"] for row in rows if "reward" in row] == [0, 0, 1, 1, 1]
    assert "NaN" not in (run / "metrics.jsonl").read_text()
    batch = load_file(run / "nonfinite" / "step-000003-rank0.safetensors")
    assert batch["completion_ids"].shape[0] == len(batch["advantages"]) == 8


def test_several_in_a_row_stop_the_run_and_say_why(poisoned):
    code, run, said = poisoned({2, 4, 5}, math.nan, nonfinite_limit=2)
    assert code == 3
    assert "Stopped at step 5" in said and "in 2 steps in a row" in said and "the loss overflowed" in said
    assert not (run / "checkpoints" / "checkpoint-5").exists()


def test_a_step_that_deepspeed_has_taken_stops_the_run_at_once(poisoned, monkeypatch):
    norm = ReasoningTrainer._get_grad_norm

    def norm_with_deepspeed(self, *arguments, **named):
        monkeypatch.setattr(self, "is_deepspeed_enabled", True)
        try:
            return norm(self, *arguments, **named)
        finally:
            monkeypatch.setattr(self, "is_deepspeed_enabled", False)

    monkeypatch.setattr(ReasoningTrainer, "_get_grad_norm", norm_with_deepspeed)
    code, run, said = poisoned({3}, math.nan)
    assert code == 3
    assert "Stopped at step 3" in said and "DeepSpeed had taken the step" in said and "the loss overflowed" in said
    assert (run / "nonfinite" / "step-000003-rank0.safetensors").exists()
    assert sorted(path.name for path in (run / "checkpoints").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


def test_the_likely_cause_is_the_first_thing_that_is_not_finite(tiny_model):
    good = torch.ones(4, 3)
    bad = torch.tensor([math.nan]).expand(4, 3)
    batch = {"advantages": good, "old_per_token_logps": good}
    assert "backward pass" in likely_cause([batch], tiny_model, loss=True)
    assert "loss overflowed" in likely_cause([batch], tiny_model, loss=False)
    assert "log-probability" in likely_cause([batch, batch | {"old_per_token_logps": bad}], tiny_model, loss=False)
    assert "reward" in likely_cause([{"advantages": bad, "old_per_token_logps": bad}], tiny_model, loss=False)
    with torch.no_grad():
        tiny_model.lm_head.weight[0, 0] = math.inf
    assert "weights themselves" in likely_cause([batch], tiny_model, loss=False)
