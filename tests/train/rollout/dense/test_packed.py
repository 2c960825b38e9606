"""Packed weights: the same products, never stale, and the module as it was afterwards."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import scratch_llama
from torch import nn
from transformers import PreTrainedModel

from train.rollout import engine as engine_file
from train.rollout.dense.packed import packed_bytes, packed_linears
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

PROMPTS = [[5, 6, 7, 8], [9, 10, 11]]
SAMPLING = Sampling(max_new_tokens=12, stop_ids=(1,), temperature=1.0)


@pytest.fixture
def wide() -> PreTrainedModel:
    """A random Llama with layers large enough to be packed, and logits small enough to compare to 1e-4."""
    model = scratch_llama(hidden_size=256, intermediate_size=512)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
    return model


def replaced(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in module.__dict__]


def test_products_are_those_of_the_layer() -> None:
    layer = nn.Sequential(nn.Linear(300, 257), nn.Linear(257, 300, bias=False))
    inputs = torch.randn(2, 9, 300)
    with torch.no_grad():
        expected = layer(inputs)
        with packed_linears(layer):
            assert len(replaced(layer)) == 2
            torch.testing.assert_close(layer(inputs), expected)


def test_rollouts_from_packed_weights_agree_with_the_models_own_forward(wide: PreTrainedModel) -> None:
    rollouts = RolloutEngine(wide).generate(PROMPTS, 3, SAMPLING)
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    assert compare(prompts, rollouts, forward_logprobs(wide)).largest <= 1e-4


def test_a_change_of_the_weights_between_calls_is_seen(wide: PreTrainedModel) -> None:
    engine = RolloutEngine(wide)
    engine.generate(PROMPTS, 2, SAMPLING)
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.mul_(1.2)
    rollouts = engine.generate(PROMPTS, 2, SAMPLING)
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    assert compare(prompts, rollouts, forward_logprobs(wide)).largest <= 1e-4


def test_forwards_are_put_back_after_an_exception(wide: PreTrainedModel) -> None:
    with pytest.raises(KeyboardInterrupt), packed_linears(wide):
        assert replaced(wide)
        raise KeyboardInterrupt
    assert not replaced(wide)


def test_layers_under_lora_are_packed_and_the_adapters_still_count(wide: PreTrainedModel) -> None:
    model = get_peft_model(wide, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    with packed_linears(model):
        assert replaced(model) and all(name.endswith(("base_layer", "lm_head")) for name in replaced(model))
    rollouts = RolloutEngine(model).generate(PROMPTS, 3, SAMPLING)
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    assert compare(prompts, rollouts, forward_logprobs(model)).largest <= 1e-4


def test_what_others_patched_and_small_layers_and_other_types_are_left_alone() -> None:
    patched = nn.Linear(300, 300)
    patched.forward = lambda inputs: inputs  # type: ignore[method-assign]
    layers = nn.ModuleList([patched, nn.Linear(64, 64), nn.Linear(300, 300).to(torch.float16)])
    before = replaced(layers)
    with packed_linears(layers):
        assert replaced(layers) == before
    assert replaced(layers) == before


def test_autocast_is_left_alone() -> None:
    layer = nn.Linear(300, 300)
    with torch.autocast("cpu", torch.bfloat16), packed_linears(layer):
        assert not replaced(layer)


def test_the_copies_count_as_memory_of_the_engine_and_are_left_out_where_it_is_short(wide: PreTrainedModel) -> None:
    packed = packed_bytes(wide)
    assert packed > 0
    roomy, tight = (RolloutEngine(wide, cache_gib=share * packed / 2**30) for share in (4, 2))
    rollouts = [engine.generate(PROMPTS, 2, SAMPLING) for engine in (roomy, tight)]
    assert (roomy.pool_bytes, tight.pool_bytes) == (3 * packed, 2 * packed)
    assert [r.token_ids for r in rollouts[0]] == [r.token_ids for r in rollouts[1]]


def test_before_large_weights_are_packed_freed_memory_goes_back(wide: PreTrainedModel, monkeypatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(engine_file, "return_freed_memory", lambda: done.append("returned"))
    monkeypatch.setattr(engine_file, "memory_budget", lambda *_: done.append("budget") or 2**30)
    engine = RolloutEngine(wide)
    done.clear()  # of the trial, which is a call of its own
    engine.generate(PROMPTS, 1, SAMPLING)
    assert done == ["budget"]
    monkeypatch.setattr(engine_file, "LARGE_PACKED", packed_bytes(wide) - 1)
    engine.generate(PROMPTS, 1, SAMPLING)
    assert done == ["budget", "returned", "budget"]


def test_weights_that_layers_share_are_packed_once() -> None:
    layers = nn.ModuleList([nn.Linear(300, 300, bias=False), nn.Linear(300, 300, bias=False)])
    layers[1].weight = layers[0].weight
    assert packed_bytes(layers) == 300 * 300 * 4
