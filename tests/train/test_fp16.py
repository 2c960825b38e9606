"""Training in fp16: products under autocast, the loss scaled up, and the engine's rollouts in the same type.

accelerate has fp16 for GPUs alone. The parts that it is made of run on a CPU too, so they are put together here.
"""

import copy
import math

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from trl import GRPOConfig

from train.config.parse import parse_config
from train.lifecycle.nonfinite import NonFiniteSteps
from train.trainer import ReasoningTrainer

RUN = ["--name", "x", "--tasks", '{"countdown": {}}']


@pytest.fixture
def trainer(tiny_model, tokenizer, tmp_path, monkeypatch) -> ReasoningTrainer:
    """A trainer of two steps, as `fp16: true` makes it on a GPU."""
    monkeypatch.setattr(AcceleratorState, "mixed_precision", "fp16")
    arguments = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=4, max_completion_length=8, beta=0.0,
        max_steps=4, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no", logging_steps=1,
        learning_rate=1e-3,
    )  # fmt: skip
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(8)])

    def reward(completion_ids, **_):
        return [float(number % 2) for number in range(len(completion_ids))]

    made = ReasoningTrainer(
        tiny_model, reward, arguments, prompts, processing_class=tokenizer, rollout_correction="tis"
    )
    made.accelerator.native_amp = True
    return made


def test_a_scale_that_is_too_large_is_halved_and_training_goes_on(trainer) -> None:
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    seen = []
    take = trainer._get_grad_norm

    def watched(*arguments, **named):
        norm = take(*arguments, **named)
        seen.append((trainer.accelerator.scaler.get_scale(), math.isfinite(float(norm))))
        return norm

    trainer._get_grad_norm = watched
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.args, "max_steps", 3)
        trainer.train()
    assert seen == [(2.0**40, False), (2.0**39, False), (2.0**38, False)]
    assert trainer.nonfinite.total == 0  # three in a row would have stopped the run
    assert all(torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())


def test_steps_are_taken_under_a_scale_that_fits_and_the_gap_is_small(trainer) -> None:
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.train()
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())
    assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
    gaps = [row["logprob_gap/max"] for row in trainer.state.log_history if "logprob_gap/max" in row]
    assert len(gaps) == 4 and 0 < max(gaps) < 0.02
    assert trainer.state.log_history[0]["sampling/effective_sample_size"] > 0.99


def test_the_engine_is_tried_in_the_type_that_it_samples_in(trainer, monkeypatch) -> None:
    types = []

    def watch(*_) -> None:
        types.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)

    monkeypatch.setattr("train.rollout.engine.try_out", watch)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.train()
    assert types == [torch.float16]


def test_gradients_that_are_not_finite_at_any_scale_stop_the_run(trainer) -> None:
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for parameter in trainer.model.parameters():
        parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteSteps, match="3 steps in a row"):
        trainer.train()


def test_fp16_leaves_bf16_out_and_wants_weights_in_float32() -> None:
    _, training = parse_config([*RUN, "--fp16", "true"])
    assert training.fp16 and not training.bf16
    with pytest.raises(ValueError, match="fp16 is set, but model_dtype is bfloat16"):
        parse_config([*RUN, "--fp16", "true", "--model", "x", "--model_dtype", "bfloat16"])
