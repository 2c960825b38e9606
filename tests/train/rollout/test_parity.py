"""The parity gate passes what is right and names what was broken, one thing at a time."""

from collections.abc import Callable, Sequence

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import STOP, prompts_of
from transformers import PreTrainedModel

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import Tokens
from train.rollout.parity.gate import ParityError, check

BOS, PAD = 2, 0
SAMPLING = Sampling(max_new_tokens=24, stop_ids=(STOP,))


def rolled_out(model: torch.nn.Module, sampling: Sampling = SAMPLING) -> tuple[list[list[int]], list[Rollout]]:
    prompts = [[BOS, *prompt] for prompt in prompts_of((4, 12, 30))]
    return prompts, RolloutEngine(model).generate(prompts, 4, sampling)


def test_an_unbroken_engine_passes_and_reports_the_gap(llama: PreTrainedModel) -> None:
    prompts, rollouts = rolled_out(llama)
    report = check(llama, prompts, rollouts, bos_id=BOS, pad_id=PAD)
    assert report.largest < 1e-4
    assert 0 < report.mean <= report.largest
    assert report.tokens >= 8


def test_only_a_few_rollouts_are_checked(llama: PreTrainedModel) -> None:
    prompts, rollouts = rolled_out(llama)
    calls: list[int] = []
    plain = forward_logprobs(llama)

    def counted(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[torch.Tensor]:
        calls.append(len(completions))
        return plain(prompts, completions)

    check(llama, prompts, rollouts, logprobs_of=counted, most=3)
    assert calls == [3]


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ({"positions": "zero"}, "position - the trainer's forward gave every token position 0"),
        ({"positions": "restart"}, "position - the trainer's forward counted"),
        ({"before": [BOS]}, "BOS - the trainer's forward had one more"),
        ({"drop_first": BOS}, "BOS - the trainer's forward lacked"),
        ({"pad_to": 31, "pad_id": PAD}, "mask - the trainer's forward attended to the padding"),
    ],
)
def test_a_broken_trainer_forward_is_named(llama: PreTrainedModel, broken: dict[str, object], cause: str) -> None:
    prompts, rollouts = rolled_out(llama)
    with pytest.raises(ParityError, match=cause):
        check(llama, prompts, rollouts, logprobs_of=forward_logprobs(llama, **broken), bos_id=BOS, pad_id=PAD)


def test_temperature_left_out_by_the_trainer_is_named(llama: PreTrainedModel) -> None:
    sampling = Sampling(max_new_tokens=24, stop_ids=(STOP,), temperature=0.6)
    prompts, rollouts = rolled_out(llama, sampling)
    assert check(llama, prompts, rollouts, temperature=0.6).largest < 1e-4
    with pytest.raises(ParityError, match=r"temperature - the trainer's forward used 1 in place of 0\.6"):
        check(llama, prompts, rollouts, temperature=0.6, logprobs_of=forward_logprobs(llama, 1.0))


def test_dropout_in_the_trainers_forward_is_named(llama: PreTrainedModel) -> None:
    prompts, rollouts = rolled_out(llama)
    llama.lm_head = torch.nn.Sequential(torch.nn.Dropout(0.3), llama.lm_head)
    llama.train()

    def in_train_mode(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[torch.Tensor]:
        rows = []
        for prompt, completion in zip(prompts, completions, strict=True):
            logits = llama(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].detach()
            rows.append(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0])
        return rows

    with pytest.raises(ParityError, match="dropout - the trainer's forward"):
        check(llama, prompts, rollouts, logprobs_of=in_train_mode)


def test_rollouts_in_bfloat16_are_named(llama: PreTrainedModel) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        prompts, rollouts = rolled_out(llama)
    with pytest.raises(ParityError, match="so the rollouts came from bfloat16"):
        check(llama, prompts, rollouts, bos_id=BOS, pad_id=PAD)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_plain_forward_computes_in_its_type(llama: PreTrainedModel, dtype: torch.dtype) -> None:
    seen: list[torch.dtype] = []
    llama.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype):
        forward_logprobs(llama)([[BOS, 5, 9]], [[7, STOP]])
    forward_logprobs(llama)([[BOS, 5, 9]], [[7, STOP]])
    assert seen == [dtype, torch.float32]


def test_rollouts_without_the_adapter_are_named(llama: PreTrainedModel) -> None:
    prompts, rollouts = rolled_out(llama)
    adapted = get_peft_model(llama, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    with pytest.raises(ParityError, match="adapter - the rollouts came from the base model"):
        check(adapted, prompts, rollouts, bos_id=BOS, pad_id=PAD)


def _twice_the_bos(model: PreTrainedModel, prompts: list[list[int]]) -> list[Rollout]:
    return RolloutEngine(model).generate([[BOS, *prompt] for prompt in prompts], 4, SAMPLING)


def _without_bos(model: PreTrainedModel, prompts: list[list[int]]) -> list[Rollout]:
    return RolloutEngine(model).generate([prompt[1:] for prompt in prompts], 4, SAMPLING)


def _stale_weights(model: PreTrainedModel, prompts: list[list[int]]) -> list[Rollout]:
    rollouts = RolloutEngine(model).generate(prompts, 4, SAMPLING)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return rollouts


@pytest.mark.parametrize(
    ("roll_out", "cause"),
    [
        (_twice_the_bos, "BOS - the rollouts had one more"),
        (_without_bos, "BOS - the rollouts lacked"),
        (_stale_weights, "none of mask"),
    ],
)
def test_a_broken_engine_side_is_named(
    llama: PreTrainedModel, roll_out: Callable[[PreTrainedModel, list[list[int]]], list[Rollout]], cause: str
) -> None:
    prompts = [[BOS, *prompt] for prompt in prompts_of((4, 12, 30))]
    rollouts = roll_out(llama, prompts)
    with pytest.raises(ParityError, match=cause):
        check(llama, prompts, rollouts, bos_id=BOS, pad_id=PAD)
