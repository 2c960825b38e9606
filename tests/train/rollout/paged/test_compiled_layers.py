"""Layers through `torch.compile`: one graph serves all layers and batch sizes, and is taken only where it is right."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import CAPPED_FAMILIES, FAMILIES, STOP, largest_gap, prompts_of, scratch_llama, sharpened
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaMLP

pytest.importorskip("triton", reason="triton is there on Linux alone")

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.paged.compiled import layers as compiled_layers
from train.rollout.paged.compiled.forward import CompiledForward
from train.rollout.paged.fingerprint import structure

SAMPLED = Sampling(max_new_tokens=4, stop_ids=(STOP,))
SIZE: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": STOP,
}
OTHERS: dict[str, dict[str, Any]] = {
    "mistral": {},
    "granite": {},
    "olmo2": {},
    "cohere": {},
    "starcoder2": {},
    "glm": {"head_dim": 16},
    "glm4": {"head_dim": 16},
    "gpt_neox": {},
    "gpt2": {"n_embd": 64, "n_layer": 3, "n_head": 4},
}


def of_family(name: str) -> PreTrainedModel:
    if name in FAMILIES | CAPPED_FAMILIES:
        return (FAMILIES | CAPPED_FAMILIES)[name]()
    return sharpened(AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **SIZE | OTHERS[name])))


class Counted:
    """A backend that compiles nothing, and counts graphs."""

    def __init__(self, change: float = 0.0) -> None:
        self.graphs = 0
        self.change = change

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        if not self.change:
            return graph.forward
        return lambda *given: tuple(output + self.change * output.sin() for output in graph.forward(*given))


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """What layers are compiled by here."""
    counted = Counted()
    torch._dynamo.reset()
    monkeypatch.setattr(compiled_layers, "BACKEND", counted)
    yield counted
    torch._dynamo.reset()


def engine_of(model: torch.nn.Module) -> RolloutEngine:
    return RolloutEngine(model, page_tokens=16, compile_layers=True, trial=False)


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", *OTHERS])
def test_one_graph_serves_all_layers_and_batch_sizes(family: str, backend: Counted) -> None:
    model, prompts = of_family(family), prompts_of((5, 40))
    engine = engine_of(model)
    rollouts = engine.generate(prompts, 2, SAMPLED)
    engine.generate(prompts[:1], 1, SAMPLED)
    assert isinstance(engine.forward, CompiledForward)
    assert backend.graphs == 1
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_updates_and_adapters_are_seen_and_the_module_is_left_as_it_was(backend: Counted) -> None:
    model = get_peft_model(scratch_llama(), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    prompts, before = prompts_of((5,)), structure(model)
    engine = engine_of(model)
    engine.generate(prompts, 2, SAMPLED)
    graphs, forward = backend.graphs, engine.forward
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    rollouts = engine.generate(prompts, 2, SAMPLED)
    assert (backend.graphs, engine.forward) == (graphs, forward)
    assert largest_gap(model, prompts, rollouts) < 1e-4
    assert structure(model) == before and model.config._attn_implementation != compiled_layers.COMPILED_ATTENTION


def test_compiled_layers_that_give_something_else_stay_with_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_layers, "BACKEND", Counted(change=0.05))
    engine = engine_of(scratch_llama())
    engine.generate(prompts_of((5,)), 1, replace(SAMPLED, max_new_tokens=1))
    assert engine.forward is not None and not isinstance(engine.forward, CompiledForward)
    assert "of their spread from the compiled ones" in engine.forward.name


def test_layers_that_ask_for_a_value_stay_with_the_module() -> None:
    class Asking(LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (2 if float(x.sum()) > 1e9 else 1)

    model, prompts = scratch_llama(), prompts_of((5,))
    for layer in model.model.layers:
        layer.mlp.__class__ = Asking
    engine = engine_of(model)
    rollouts = engine.generate(prompts, 1, SAMPLED)
    assert engine.forward is not None and "its layers do not compile (" in engine.forward.name
    assert largest_gap(model, prompts, rollouts) < 1e-4


@pytest.mark.slow
def test_inductor_gives_what_the_module_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_layers, "BACKEND", "inductor")
    model, prompts = FAMILIES["phi3"](), prompts_of((5, 19))
    engine = engine_of(model)
    rollouts = engine.generate(prompts, 2, SAMPLED)
    assert isinstance(engine.forward, CompiledForward)
    assert largest_gap(model, prompts, rollouts) < 1e-4
