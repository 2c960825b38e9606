"""Bad input gives one clear error, and nothing stays changed behind any error."""

from collections.abc import Callable

import pytest
import torch
from rollout_models import STOP, VOCAB, gib_of_blocks, prompts_of
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling, Thinking
from train.rollout.support import UnsupportedModel

SAMPLING = Sampling(max_new_tokens=20, stop_ids=(STOP,))


@pytest.mark.parametrize(
    ("prompts", "samples", "sampling", "message"),
    [
        ([[5], []], 1, SAMPLING, "prompt 1 is empty"),
        ([[5] * 500], 1, SAMPLING, "prompt 0 has 500 tokens; with max_new_tokens 20"),
        ([[5]], 1, Sampling(max_new_tokens=20, stop_ids=(STOP, 999)), "stop id 999 is outside"),
        ([[5, VOCAB]], 1, SAMPLING, f"prompt 0 holds token {VOCAB}"),
        ([[5]], 0, SAMPLING, "samples_per_prompt is 0"),
        (
            [[5]],
            1,
            Sampling(max_new_tokens=20, stop_ids=(), thinking=Thinking(500, 6, budget=1, closing_ids=(6,))),
            "thinking token id 500",
        ),
    ],
)
def test_bad_requests_are_refused_and_the_engine_goes_on(
    llama: PreTrainedModel, prompts: list[list[int]], samples: int, sampling: Sampling, message: str
) -> None:
    engine = RolloutEngine(llama)
    with pytest.raises(ValueError, match=message):
        engine.generate(prompts, samples, sampling)
    assert len(engine.generate([[5]], 2, SAMPLING)) == 2


def test_no_prompts_give_no_rollouts(llama: PreTrainedModel) -> None:
    assert RolloutEngine(llama).generate([], 4, SAMPLING) == []


def test_a_cache_too_small_for_one_rollout_is_refused(llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="too few for one rollout of up to 60"):
        RolloutEngine(llama, cache_gib=gib_of_blocks(llama, 2)).generate([[5] * 40], 1, SAMPLING)


def test_non_finite_logits_name_the_rollout_and_the_step(llama: PreTrainedModel) -> None:
    prompts, engine = prompts_of((5, 9, 40)), RolloutEngine(llama)
    expected = engine.generate(prompts, 1, SAMPLING)
    poison = expected[1].token_ids[0]
    weight = llama.get_input_embeddings().weight
    clean = weight.detach().clone()
    with torch.no_grad():
        weight[poison] = float("nan")
    with pytest.raises(ValueError, match=r"not finite.*rollout 1 at its token 1\b"):
        engine.generate(prompts, 1, SAMPLING)
    with torch.no_grad():
        weight.copy_(clean)
    assert engine.generate(prompts, 1, SAMPLING) == expected


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt()])
def test_module_is_left_as_it_was_after_an_error(llama: PreTrainedModel, error: BaseException) -> None:
    llama.train()
    llama.model.layers[1].eval()
    llama.gradient_checkpointing_enable()
    modes = [module.training for module in llama.modules()]
    engine, prompts = RolloutEngine(llama), prompts_of((5, 40))
    expected = engine.generate(prompts, 2, SAMPLING)

    def fail(count: int) -> None:
        raise error

    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.modules()]
    with pytest.raises(type(error)):
        engine.generate(prompts, 2, SAMPLING, on_finished=fail)
    assert [module.training for module in llama.modules()] == modes
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.modules()] == hooks
    assert llama.config._attn_implementation == "sdpa"
    assert torch.is_grad_enabled()
    llama(torch.tensor([[3, 4]])).logits.sum().backward()
    assert engine.generate(prompts, 2, SAMPLING) == expected


def test_dropout_is_off_in_rollouts_and_on_again_after(llama: PreTrainedModel) -> None:
    prompts = prompts_of((5, 40))
    expected = RolloutEngine(llama).generate(prompts, 2, SAMPLING)
    for layer in llama.model.layers:
        layer.self_attn.o_proj = torch.nn.Sequential(layer.self_attn.o_proj, torch.nn.Dropout(0.5))
    llama.train()
    assert RolloutEngine(llama).generate(prompts, 2, SAMPLING) == expected
    assert llama.model.layers[0].self_attn.o_proj[1].training


_TINY = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MambaForCausalLM(MambaConfig(**_TINY, state_size=4)), "MambaForCausalLM"),
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=64, d_model=32, num_layers=1, d_kv=8, d_ff=32, num_heads=2)
            ),
            "T5ForConditionalGeneration .*encoder-decoder",
        ),
        (
            lambda: Gemma2ForCausalLM(
                Gemma2Config(**_TINY, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16)
            ),
            "Gemma2ForCausalLM .*softcap",
        ),
        (lambda: torch.nn.Linear(2, 2), "Linear is not a transformers model"),
    ],
)
def test_models_it_cannot_run_are_refused_by_name(build: Callable[[], torch.nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        RolloutEngine(build())


def test_generate_back_end_refuses_a_thinking_budget(llama: PreTrainedModel) -> None:
    sampling = Sampling(max_new_tokens=20, stop_ids=(), thinking=Thinking(5, 6, budget=1, closing_ids=(6,)))
    with pytest.raises(ValueError, match="use RolloutEngine"):
        GenerateBackend(llama, 0).generate([[5]], 1, sampling)
