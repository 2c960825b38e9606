"""Where sampler and loss differ, each token's loss is weighted by the ratio, cut off or masked at its bounds."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import GRPOConfig

from train.config.parse import parse_config
from train.loss.rollout_correction import effective_sample_size, share_of_sample
from train.trainer import ReasoningTrainer


class Shifted(ReasoningTrainer):
    """The engine's rollouts; the sampler says of every second token that it was `shift` less likely, in logarithms."""

    shift = 0.0

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        completions, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        return completions, [[p - self.shift * (i % 2) for i, p in enumerate(row)] for row in logprobs]


def trainer_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: str, correction: str, shift: float
) -> Shifted:
    arguments = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=8, num_generations=4, max_completion_length=8, beta=0.0,
        max_steps=1, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
        vllm_importance_sampling_clip_max=3.0,
    )  # fmt: skip
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(2)])

    def reward(completion_ids, **_):
        return [float(number % 2) for number in range(len(completion_ids))]

    trainer = Shifted(model, reward, arguments, prompts, processing_class=tokenizer, rollout_correction=correction)
    trainer.shift = shift
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def batch_of(trainer: Shifted) -> dict:
    trainer.model.train()
    return trainer._generate_and_score_completions([trainer.train_dataset[n] for n in (0, 0, 0, 0, 1, 1, 1, 1)])


def gradient(trainer: Shifted, batch: dict) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("correction", ["tis", "mis"])
def test_a_sampler_that_agrees_with_the_loss_changes_nothing(correction, tiny_model, tokenizer, tmp_path) -> None:
    trainer = trainer_of(tiny_model, tokenizer, str(tmp_path), correction, 0.0)
    batch = batch_of(trainer)
    own = batch["completion_mask"].bool()
    torch.testing.assert_close(batch["importance_sampling_ratio"][own], torch.ones(int(own.sum())), atol=1e-4, rtol=0)
    assert trainer._metrics["train"]["sampling/effective_sample_size"][-1] == pytest.approx(1, abs=1e-4)
    assert trainer._metrics["train"]["sampling/sampling_logp_difference/max"][-1] < 1e-4
    corrected = gradient(trainer, batch)
    plain = trainer_of(tiny_model, tokenizer, str(tmp_path), "none", 0.0)
    expected = gradient(plain, batch | {"old_per_token_logps": batch["sampling_per_token_logps"]})
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(corrected, expected, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(
    ("correction", "ratio", "weight"),
    [("tis", 2.0, 2.0), ("tis", 5.0, 3.0), ("mis", 2.0, 2.0), ("mis", 5.0, 0.0)],
)
def test_tokens_are_weighted_by_the_ratio_within_its_bounds(
    correction, ratio, weight, tiny_model, tokenizer, tmp_path
) -> None:
    trainer = trainer_of(tiny_model, tokenizer, str(tmp_path), correction, math.log(ratio))
    batch = batch_of(trainer)
    own, odd = batch["completion_mask"].bool(), torch.arange(batch["completion_mask"].shape[1]) % 2
    expected = torch.where(odd.bool(), weight, 1.0).expand_as(batch["completion_mask"])
    torch.testing.assert_close(batch["importance_sampling_ratio"][own], expected[own], atol=1e-3, rtol=0)
    # The weights multiply each token's term of the loss, and the clipped ratio knows nothing of the sampler.
    loss = trainer._compute_loss(trainer.model, batch).detach()
    terms = batch["advantages"].unsqueeze(1) * expected * own
    assert float(loss) == pytest.approx(float(-terms.sum() / batch["num_items_in_batch"]), abs=1e-3)


@pytest.mark.parametrize(("correction", "weights"), [("tis", (0.5, 2.0)), ("mis", (0.0, 0.0))])
def test_the_config_says_the_correction_and_its_bounds_and_the_gap_is_logged(
    correction, weights, tiny_model, tokenizer, tmp_path
) -> None:
    options = {
        "rollout_correction": correction, "vllm_importance_sampling_clip_min": 0.5,
        "vllm_importance_sampling_clip_max": 2.0, "num_generations": 4, "per_device_train_batch_size": 8,
        "max_completion_length": 8, "max_steps": 1, "use_cpu": True, "save_strategy": "no", "report_to": "none",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value).lower())]
    run, training = parse_config(["--name", "x", "--runs_dir", str(tmp_path), "--tasks", '{"countdown": {}}', *words])
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(2)])
    trainer = Shifted(
        tiny_model, lambda completion_ids, **_: [float(n % 2) for n in range(len(completion_ids))], training, prompts,
        processing_class=tokenizer, rollout_correction=run.rollout_correction,
    )  # fmt: skip
    for shift, weight in zip((-math.log(5.0), math.log(5.0)), weights, strict=True):
        trainer.shift = shift
        batch = batch_of(trainer)
        own, odd = batch["completion_mask"].bool(), torch.arange(batch["completion_mask"].shape[1]) % 2
        expected = torch.where(odd.bool(), weight, 1.0).expand_as(batch["completion_mask"])
        torch.testing.assert_close(batch["importance_sampling_ratio"][own], expected[own], atol=1e-3, rtol=0)
    trainer._metrics["train"].clear()
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["sampling/sampling_logp_difference/max"] == pytest.approx(math.log(5.0), abs=1e-3)
    assert 0 < logged["sampling/sampling_logp_difference/mean"] < math.log(5.0)
    assert 0.3 < logged["sampling/effective_sample_size"] < 0.9  # half of the tokens weigh 5 times as much


def test_the_effective_sample_size_counts_the_tokens_of_the_loss() -> None:
    batch = {
        "completion_mask": torch.tensor([[1, 1, 1, 0]]),
        "tool_mask": torch.tensor([[1, 1, 0, 1]]),
        "old_per_token_logps": torch.tensor([[0.0, math.log(3.0), 9.0, 9.0]]),
        "sampling_per_token_logps": torch.zeros(1, 4),
    }
    assert share_of_sample(effective_sample_size(batch)) == pytest.approx(4**2 / (10 * 2))
    batch["completion_mask"].zero_()
    assert share_of_sample(effective_sample_size(batch)) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rollout_correction", "sometimes"], "rollout_correction"),
        (["--rollout_correction", "tis", "--backend", "generate"], "use backend: engine"),
        (["--rollout_correction", "mis", "--method", "rft"], "method is rft"),
        (["--rollout_correction", "tis", "--vllm_importance_sampling_clip_min", "4"], "must be less than vllm_imp"),
    ],
)
def test_a_correction_of_nothing_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config(["--name", "x", "--tasks", '{"countdown": {}}', *options])
