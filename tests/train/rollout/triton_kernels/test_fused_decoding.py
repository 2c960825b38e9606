"""Fused layers over shadow weights decode what the module decodes: in the interpreter, with a few rows and steps."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import CAPPED_FAMILIES, FUSED_FAMILIES, STOP, VOCAB, largest_gap, prompts_of, scratch_llama
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from transformers.models.llama.modeling_llama import LlamaMLP
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling
from train.rollout.paged.decoder import PagedDecoder
from train.rollout.paged.fused.forward import FusedForward
from train.rollout.paged.fused.shadow import NotFusable
from train.rollout.paged.pool import page_bytes

SAMPLED = Sampling(max_new_tokens=4, stop_ids=(STOP,))
PROMPTS = prompts_of((14, 22))  # four steps cross the end of a page of 16, and of windows of 20 and 24 tokens


def tokens(rollouts: list[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


def fused_engine(model: torch.nn.Module, **options: object) -> RolloutEngine:
    return RolloutEngine(model, page_tokens=16, own_kernels=True, **options)


@cache
def engine_of(family: str) -> RolloutEngine:
    """Kept for the tests that ask for it: its trials take a second."""
    return fused_engine((FUSED_FAMILIES | CAPPED_FAMILIES)[family](), trial=family in FUSED_FAMILIES)


@pytest.mark.parametrize("family", FUSED_FAMILIES)
def test_steps_are_those_of_the_module(family: str) -> None:
    engine, eight = engine_of(family), dataclasses.replace(SAMPLED, max_new_tokens=8)
    model = engine.model
    expected = RolloutEngine(model).generate(PROMPTS, 2, eight)
    rollouts = engine.generate(PROMPTS, 2, eight)
    assert engine.forward is not None and engine.forward.name == "fused layers"
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(model, PROMPTS, rollouts) < 1e-4


@pytest.mark.parametrize(("family", "forward"), [("gemma2", "fused layers"), ("gpt_oss", "the module's own layers (")])
def test_soft_capped_scores_and_sinks_are_computed(family: str, forward: str) -> None:
    engine = engine_of(family)
    model = engine.model
    rollouts = engine.generate(PROMPTS, 2, SAMPLED)
    assert engine.forward is not None and engine.forward.name.startswith(forward)
    assert largest_gap(model, PROMPTS, rollouts) < 1e-4


def test_adapters_are_merged_and_updates_are_taken_up() -> None:
    prompts = prompts_of((5,))
    model = get_peft_model(scratch_llama(num_hidden_layers=1), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    engine, short = fused_engine(model), dataclasses.replace(SAMPLED, max_new_tokens=3, stop_ids=())
    first = engine.generate(prompts, 2, short)
    forward = engine.forward
    assert forward is not None and forward.name == "fused layers"
    assert largest_gap(model, prompts, first) < 1e-4
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)  # as an optimiser does, in place, base weights and adapters alike
    second = engine.generate(prompts, 2, short)
    assert engine.forward is forward  # no second trial, and graphs would be kept
    assert largest_gap(model, prompts, second) < 1e-4


def test_unmerged_adapters_stay_with_the_module() -> None:
    model = get_peft_model(scratch_llama(num_hidden_layers=1), LoraConfig(r=4, target_modules=["q_proj"]))
    engine = fused_engine(model, merge_adapters=False)
    engine.generate(prompts_of((5,)), 1, dataclasses.replace(SAMPLED, max_new_tokens=1))
    assert engine.forward is not None
    assert engine.forward.name == "the module's own layers (its adapters are to stay unmerged)"


def test_a_layer_that_computes_something_else_stays_with_the_module() -> None:
    class Doubled(LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model = scratch_llama(num_hidden_layers=1)
    twin = Doubled(model.config)
    twin.load_state_dict(model.model.layers[0].mlp.state_dict())
    model.model.layers[0].mlp = twin
    with pytest.raises(NotFusable, match="its layer 0 differs by"):
        FusedForward(model, 64, torch.float32)


@pytest.mark.parametrize("name", ["lm_head", "model.norm", "model.layers.0", "model.layers.0.mlp.down_proj"])
def test_a_model_with_a_hook_stays_with_the_module_that_calls_it(name: str) -> None:
    model = scratch_llama(num_hidden_layers=1)
    model.get_submodule(name).register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(NotFusable, match="a hook watches or changes its"):
        FusedForward(model, 64, torch.float32)


class Counted(TorchDispatchMode):
    """Notes what runs under it: `launches`, torch's that compute something beside our kernels, and tensors `made`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.launches: list[str] = []
        self.made: list[tuple[int, ...]] = []
        run, launches = GridExecutor.__call__, self.launches

        def counted(self: GridExecutor, *args: object, **options: object) -> None:
            launches.append(self.fn.__name__)
            with _disable_current_modes():
                run(self, *args, **options)

        monkeypatch.setattr(GridExecutor, "__call__", counted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or name in ("_unsafe_view", "lift_fresh", "detach"):
            return output
        self.made.append(tuple(output.shape))
        if name not in ("empty", "empty_like"):
            self.launches.append(name)
        return output


@pytest.mark.parametrize("family", [*FUSED_FAMILIES, "gemma2"])
def test_a_layer_takes_nine_launches_and_a_step_six_beside_and_logits_are_written_once(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(family)
    engine.generate(prompts_of((5,)), 3, dataclasses.replace(SAMPLED, max_new_tokens=2, stop_ids=()))
    assert engine.decoder is not None
    with torch.no_grad(), Counted(monkeypatch) as step:
        engine.decoder.decode(SAMPLED)
    assert len(step.launches) == 9 * len(engine.layers) + 6, step.launches
    assert step.made.count((3, VOCAB)) == 1, step.made


def test_a_prefill_takes_nine_launches_a_layer_four_beside_and_five_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, prefill = engine_of("llama"), PagedDecoder.prefill
    chunks: list[list[str]] = []

    def counted(self: PagedDecoder, *args: Any) -> torch.Tensor:
        with Counted(monkeypatch) as chunk:
            logits = prefill(self, *args)
        chunks.append(list(chunk.launches))
        return logits

    monkeypatch.setattr(PagedDecoder, "prefill", counted)
    engine.generate(prompts_of((14, 22, 40)), 1, dataclasses.replace(SAMPLED, max_new_tokens=1))
    assert [len(chunk) for chunk in chunks] == [9 * len(engine.layers) + 4 + 5], chunks


def test_deterministic_rollouts_are_the_same_bit_for_bit_alone_and_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_one_order(left: np.ndarray, right: np.ndarray, dtype: Any = None) -> np.ndarray:
        return np.einsum("ij,jk->ik", left, right, dtype=dtype, optimize=False)

    # The interpreter multiplies by BLAS, whose sums depend on a row's place in a tile; those of a GPU do not.
    monkeypatch.setattr(interpreter.np, "matmul", in_one_order)
    model, prompts = scratch_llama(num_hidden_layers=1), prompts_of((5, 33))
    short = dataclasses.replace(SAMPLED, max_new_tokens=3, stop_ids=())
    together = fused_engine(model, deterministic=True, chunk_tokens=20).generate(prompts, 3, short)
    engine = fused_engine(model, deterministic=True)
    alone = engine.generate(prompts[1:], 1, short, sample_numbers=[1])[0]
    assert engine.forward is not None and engine.forward.name == "fused layers, independent of the batch"
    assert alone.token_ids == together[4].token_ids
    assert alone.logprobs == together[4].logprobs


def test_shadow_weights_count_within_the_memory_of_the_engine() -> None:
    model, prompts = scratch_llama(num_hidden_layers=1), prompts_of((5,))
    one = dataclasses.replace(SAMPLED, max_new_tokens=1)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    engine = fused_engine(model, cache_gib=3 * weights / 2**30)
    engine.generate(prompts, 1, one)
    assert engine.forward is not None and engine.forward.name == "fused layers" and engine.decoder is not None
    left = int(engine.limits.cache_gib * 2**30) - engine.forward.bytes  # type: ignore[operator]
    assert engine.decoder.page_limit == left // page_bytes(engine.layers, 16)
    small = fused_engine(model, cache_gib=1.9 * weights / 2**30)
    small.generate(prompts, 1, one)
    assert small.forward is not None and "a shadow of its weights would take" in small.forward.name
