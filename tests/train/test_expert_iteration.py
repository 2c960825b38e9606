"""Expert iteration: what is trained on, and that its gradient is that of supervised training."""

import pyarrow.dataset as ds
import pytest
import torch
from resuming import launch, reward_anything, write_config
from torch.nn.functional import cross_entropy

from data.problem import Problem
from train.expert_iteration import imitate_accepted
from train.model.loading import load_model, load_tokenizer
from train.model.prompts import messages, prompt_ids


def test_rejected_completions_are_masked_and_the_normaliser_counts_the_accepted_tokens():
    batch = {
        "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        "advantages": torch.tensor([0.5, -0.5]),
        "old_per_token_logps": torch.zeros(2, 3),
        "num_items_in_batch": torch.tensor(5),
    }
    imitated = imitate_accepted(batch, [True, False], lambda count: count)
    assert imitated["completion_mask"].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert imitated["advantages"].tolist() == [1, 0]
    assert imitated["num_items_in_batch"] == 2
    assert "old_per_token_logps" not in imitated


@pytest.fixture
def any_reward(monkeypatch):
    from train.rewards.correctness import CorrectnessReward

    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # put back after the test
    reward_anything()


def test_a_step_is_one_of_supervised_training_on_the_accepted_completions(tmp_path, any_reward):
    rate = 1.0
    config = write_config(
        tmp_path, method="rft", optim="sgd", learning_rate=rate, max_steps=1, save_steps=1, max_grad_norm=1e9
    )
    config.write_text(config.read_text() + "lr_scheduler_type: constant\n")
    assert launch(config, "--name", "run") == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    start, tokenizer = (
        load_model(str(checkpoints / "cold-start"), dtype=torch.float32),
        load_tokenizer(str(checkpoints / "cold-start")),
    )
    after = load_model(str(checkpoints / "checkpoint-1"), dtype=torch.float32)
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table().to_pylist()
    accepted = [row for row in rows if row["correct"] and row["split"] == "train"]
    assert accepted and len(accepted) < len([row for row in rows if row["split"] == "train"])
    loss = torch.zeros(())
    for row in accepted:
        prompt = prompt_ids(tokenizer, messages(Problem.from_json(row["problem"]), ""))
        ids = torch.tensor([prompt + row["completion_ids"]])  # (1, tokens)
        logits = start(ids).logits[0, len(prompt) - 1 : -1]  # (completion, vocabulary)
        loss = loss + cross_entropy(logits, ids[0, len(prompt) :], reduction="sum")
    (loss / sum(len(row["completion_ids"]) for row in accepted)).backward()
    for name, weight in start.named_parameters():
        moved = weight.detach() - after.get_parameter(name).detach()
        assert torch.allclose(moved, rate * weight.grad, atol=1e-6), name


@pytest.mark.parametrize(
    "values", [{"method": "dpo"}, {"method": "rft", "beta": 0.1}, {"method": "rft", "loss_type": "grpo"}]
)
def test_what_the_method_excludes_is_refused_by_name(tmp_path, capsys, values):
    assert launch(write_config(tmp_path, **values), "--name", "run") == 2
    assert "method is" in capsys.readouterr().err
