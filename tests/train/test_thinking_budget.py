"""A thinking budget in training: it holds, and what the engine wrote to keep it teaches nothing."""

import pyarrow.dataset as ds
import pytest
import torch
from datasets import Dataset
from resuming import DYNAMIC, launch, write_config
from transformers import AutoTokenizer, PrinterCallback
from trl import GRPOConfig

from data.response import CLOSE, OPEN
from train.model.prompts import thinking_within
from train.rewards.correctness import CorrectnessReward
from train.trainer import ReasoningTrainer

BUDGET = 5


class Kept(ReasoningTrainer):
    """A trainer that keeps its batches, and the gradient of the loss by each token's log-probability."""

    def _prepare_inputs(self, generation_batch):
        self.batches = [*getattr(self, "batches", []), super()._prepare_inputs(generation_batch)]
        return self.batches[-1]

    def _get_per_token_logps_and_entropies(self, *arguments, **options):
        logprobs, *rest = super()._get_per_token_logps_and_entropies(*arguments, **options)
        if logprobs.requires_grad:
            logprobs.register_hook(lambda gradient: self.gradients.append(gradient))
        return logprobs, *rest

    @property
    def gradients(self):
        return self.__dict__.setdefault("_gradients", [])


def trained(model, tokenizer, folder, **values):
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=8, num_generations=8, max_completion_length=24,
        beta=0.0, max_steps=2, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
        mask_truncated_completions=True, **values,
    )  # fmt: skip
    trainer = Kept(
        model=model,
        reward_funcs=lambda completion_ids, **_: [float(sum(ids) % 3) for ids in completion_ids],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "compute 1 + 1"}]}] * 4),
        processing_class=tokenizer,
        thinking=thinking_within(tokenizer, BUDGET),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


@pytest.fixture
def thinker(tiny_model, tokenizer):
    """A model that mostly opens its thinking at once, and ends its turn one time in ten."""
    bias = torch.zeros(tiny_model.config.vocab_size)
    bias[tokenizer.convert_tokens_to_ids(OPEN)] = 3.0
    bias[tokenizer.eos_token_id] = 3.0
    tiny_model.lm_head.bias = torch.nn.Parameter(bias)
    return tiny_model


@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo", "grpo"])
def test_the_budget_holds_and_forced_tokens_get_no_gradient(thinker, tokenizer, tmp_path, loss_type):
    trainer = trained(thinker, tokenizer, tmp_path, loss_type=loss_type)
    close, closed = tokenizer.convert_tokens_to_ids(CLOSE), 0
    assert len(trainer.batches) == len(trainer.gradients) == 2
    for batch, gradient in zip(trainer.batches, trainer.gradients, strict=True):
        width = gradient.shape[1]  # the trainer trims the padding
        ids, own = batch["completion_ids"][:, :width], batch["tool_mask"][:, :width].bool()
        present = batch["completion_mask"][:, :width].bool()  # nowhere in rollouts that were cut off
        written = present & ~own
        assert (ids[written] == close).all()
        assert (gradient[written] == 0).all()
        taught = present & own
        assert (gradient[taught] != 0).all()
        closed += int((taught.any(1) & written.any(1)).sum())
    assert closed > 0  # what ended by itself behind a forced tag is no truncated rollout, and is trained on


@pytest.mark.parametrize("values", [{}, DYNAMIC], ids=["plain", "dynamic sampling"])
def test_a_run_keeps_its_rollouts_to_the_budget(tmp_path, monkeypatch, values):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)
    config = write_config(
        tmp_path,
        cold_start_steps=12,
        cold_start_learning_rate=0.03,
        eval_strategy="no",
        max_steps=1,
        max_completion_length=40,
        thinking_budget=BUDGET,
        **values,
    )
    assert launch(config, "--name", "run") == 0
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table().to_pylist()
    assert {row["split"] for row in rows} >= {"train"}
    assert max(row["thinking_tokens"] for row in rows) == BUDGET


def test_a_tokenizer_without_the_tags_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    other.encode = lambda text, **_: [1, 2, 3]
    with pytest.raises(ValueError, match="writes <think> as 3 tokens"):
        thinking_within(other, 5)
