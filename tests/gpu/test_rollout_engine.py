"""The engine on CUDA: captured graphs, block-table attention, and nothing that makes the host wait for the device."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import FAMILIES, STOP, largest_gap, prompts_of, scratch_llama
from transformers import PreTrainedModel

from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling, Thinking
from train.rollout.paged.attention import takes_pages, varlen_attention
from train.rollout.paged.forwards import ModuleForward
from train.rollout.paged.pool import FLASH_PAGE_TOKENS, page_bytes
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

DEVICE = torch.device("cuda", 0)
LENGTHS = (1, 5, 70, 255, 256, 257, 300)  # about the edges of pages, which have 16 tokens, or 256 for flash attention
GREEDY = Sampling(max_new_tokens=40, stop_ids=(STOP,), temperature=0.0)
SAMPLED = Sampling(max_new_tokens=40, stop_ids=(STOP, 7))


def tokens(rollouts: list[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


def half(family: str = "llama") -> PreTrainedModel:
    return FAMILIES[family]().to(DEVICE, torch.bfloat16)


def mean_gap(model: torch.nn.Module, prompts: list[list[int]], rollouts: list[Rollout]) -> float:
    return compare(prompts, rollouts, forward_logprobs(model), most=len(rollouts)).mean


def perturb(model: torch.nn.Module) -> None:
    """What an optimiser step does to the weights: other values, same storage."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_generate_in_float32(family: str) -> None:
    model, prompts = FAMILIES[family]().to(DEVICE), prompts_of(LENGTHS)
    expected = GenerateBackend(model, 0).generate(prompts, 1, GREEDY)
    engine = RolloutEngine(model)
    assert tokens(engine.generate(prompts, 1, GREEDY)) == tokens(expected)
    assert engine.stats.replayed_steps == engine.stats.steps


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_logprobs_equal_a_full_forward(family: str) -> None:
    model, prompts = FAMILIES[family]().to(DEVICE), prompts_of(LENGTHS)
    rollouts = RolloutEngine(model, max_rows=9, chunk_tokens=48).generate(prompts, 3, SAMPLED)
    assert largest_gap(model, prompts, rollouts) < 1e-4


@pytest.mark.skipif(not takes_pages(), reason="this torch's varlen_attn takes no block table")
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_goes_through_flash_attention_and_stays_near_a_full_forward(family: str) -> None:
    model, prompts = half(family), prompts_of(LENGTHS)
    engine = RolloutEngine(model, own_kernels=False)
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert isinstance(engine.forward, ModuleForward)
    assert all(kernel is varlen_attention for kernel in engine.forward.kernels)
    assert mean_gap(model, prompts, rollouts) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.9, "top_k": 30, "min_p": 0.01}]
)
def test_replays_equal_eager_steps(dtype: torch.dtype, changes: dict[str, float]) -> None:
    model, prompts = scratch_llama().to(DEVICE, dtype), prompts_of(LENGTHS)
    sampling = dataclasses.replace(SAMPLED, **changes)
    expected = RolloutEngine(model, cuda_graphs=False).generate(prompts, 3, sampling)
    engine = RolloutEngine(model)
    assert tokens(engine.generate(prompts, 3, sampling)) == tokens(expected)
    assert engine.stats.replayed_steps == engine.stats.steps > engine.stats.captured_graphs > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"max_rows": 4, "chunk_tokens": 48}], ids=["idle", "beside rows that decode"])
def test_replayed_prefills_equal_eager_ones(dtype: torch.dtype, options: dict[str, int]) -> None:
    model, prompts = scratch_llama().to(DEVICE, dtype), prompts_of(LENGTHS)
    eager = RolloutEngine(model, cuda_graphs=False, **options)
    engine = RolloutEngine(model, **options)
    for call in (prompts, prompts_of(LENGTHS, seed=3)):  # the second replays what the first captured, on other tokens
        expected, rollouts = eager.generate(call, 3, SAMPLED), engine.generate(call, 3, SAMPLED)
        assert engine.forward is not None and engine.forward.name == "fused layers"
        assert tokens(rollouts) == tokens(expected)
        close = {"atol": 1e-5 if dtype == torch.float32 else 1e-2, "rtol": 0}
        torch.testing.assert_close([r.logprobs for r in rollouts], [r.logprobs for r in expected], **close)
        assert engine.stats.replayed_prefills == engine.stats.prefills > 0
    assert eager.stats.replayed_prefills == 0


def test_first_tokens_are_drawn_as_on_a_cpu() -> None:
    model, prompts = scratch_llama(), prompts_of((5, 70))
    sampling = Sampling(max_new_tokens=1, stop_ids=())
    expected = tokens(RolloutEngine(model).generate(prompts, 200, sampling))
    rollouts = tokens(RolloutEngine(model.to(DEVICE)).generate(prompts, 200, sampling))
    differing = sum(a != b for a, b in zip(rollouts, expected, strict=True))
    assert differing <= 2  # a draw may fall on the other side of an edge, in the last bits of a logit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_updated_in_place_are_read_by_the_same_graphs(dtype: torch.dtype) -> None:
    model, prompts = scratch_llama().to(DEVICE, dtype), prompts_of(LENGTHS)
    engine = RolloutEngine(model)
    before = engine.generate(prompts, 3, SAMPLED)
    perturb(model)
    after = engine.generate(prompts, 3, SAMPLED)
    assert tokens(after) != tokens(before)
    assert mean_gap(model, prompts, after) < (1e-4 if dtype == torch.float32 else 0.1)
    assert engine.stats.captured_graphs < 3  # batch sizes that the first call did not meet


def test_an_optimiser_step_between_calls_is_seen() -> None:
    model, prompts = scratch_llama().to(DEVICE), prompts_of(LENGTHS)
    engine, optimiser = RolloutEngine(model), torch.optim.AdamW(model.parameters(), lr=0.02)
    engine.generate(prompts, 3, SAMPLED)
    for _ in range(2):
        model(
            torch.tensor([prompts[2]], device=DEVICE), labels=torch.tensor([prompts[2]], device=DEVICE)
        ).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        assert largest_gap(model, prompts, engine.generate(prompts, 3, SAMPLED)) < 1e-4


def test_weights_that_autocast_casts_are_cast_in_every_replay() -> None:
    model, prompts = scratch_llama().to(DEVICE), prompts_of(LENGTHS)
    engine = RolloutEngine(model)
    with torch.autocast("cuda", torch.bfloat16):
        engine.generate(prompts, 3, SAMPLED)
    perturb(model)
    with torch.autocast("cuda", torch.bfloat16):
        rollouts = engine.generate(prompts, 3, SAMPLED)
        assert engine.stats.replayed_steps == engine.stats.steps
        eager = RolloutEngine(model, cuda_graphs=False).generate(prompts, 3, SAMPLED)
        # Stale casts give a gap near 2, whatever half precision costs these sharp random weights by itself.
        assert mean_gap(model, prompts, rollouts) < 0.2 + 1.5 * mean_gap(model, prompts, eager)


def test_moved_weights_are_noticed_and_captured_anew() -> None:
    model, prompts = half(), prompts_of(LENGTHS)
    engine = RolloutEngine(model)
    engine.generate(prompts, 3, SAMPLED)
    kept = [parameter.data for parameter in model.parameters()]  # so that the old storage holds the old weights
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.1
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert engine.stats.captured_graphs > 0 and kept
    assert mean_gap(model, prompts, rollouts) < 0.1


def test_unmerged_lora_is_rolled_out_and_merging_is_noticed() -> None:
    prompts = prompts_of(LENGTHS)
    model = get_peft_model(scratch_llama(), LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.to(DEVICE).train()
    engine = RolloutEngine(model)
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert largest_gap(model.eval(), prompts, rollouts) < 1e-4
    model.merge_adapter()
    assert largest_gap(model, prompts, engine.generate(prompts, 3, SAMPLED)) < 1e-4


def test_thinking_budgets_are_kept_in_replays() -> None:
    model = scratch_llama().to(DEVICE)
    prompts = [[*prompts_of((20,))[0], 110], prompts_of((260,))[0]]
    thinking = Thinking(110, 111, budget=20, closing_ids=(112, 111), minimum=9, wait_ids=(113, 112), extensions=2)
    sampling = Sampling(max_new_tokens=60, stop_ids=(STOP,), temperature=1.5, thinking=thinking)
    rollouts = RolloutEngine(model).generate(prompts, 24, sampling)
    eager = RolloutEngine(model, cuda_graphs=False).generate(prompts, 24, sampling)
    assert [(r.token_ids, r.forced) for r in rollouts] == [(r.token_ids, r.forced) for r in eager]
    closed = [r for r in rollouts if r.forced is not None and 111 in r.token_ids]
    assert closed
    assert largest_gap(model, prompts, rollouts, temperature=1.5) < 1e-4
    assert all(r.thinking_tokens <= 22 for r in rollouts if r.token_ids.count(110) == 0)


def test_rollouts_survive_preemption() -> None:
    model, prompts = scratch_llama().to(DEVICE), prompts_of((200, 240, 250))
    sampling = Sampling(max_new_tokens=120, stop_ids=(STOP,))
    expected = RolloutEngine(model, own_kernels=False).generate(prompts, 6, sampling)
    gib = 12.5 * page_bytes(RolloutEngine(model).layers, FLASH_PAGE_TOKENS) / 2**30
    engine = RolloutEngine(model, cache_gib=gib, own_kernels=False)  # whose shadow weights would count as well
    engine.generate(prompts, 1, Sampling(max_new_tokens=1, stop_ids=()))  # so that it expects short rollouts
    rollouts = engine.generate(prompts, 6, sampling)
    assert engine.stats.preemptions > 0
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_the_host_waits_for_nothing_but_the_outputs_of_the_step_before() -> None:
    model, prompts = half(), prompts_of(LENGTHS)
    engine = RolloutEngine(model, cache_gib=0.05)
    expected = engine.generate(prompts, 3, SAMPLED)
    engine.generate(prompts, 3, SAMPLED)  # with the lengths known, so that the third meets no new batch size
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        rollouts = engine.generate(prompts, 3, SAMPLED)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert engine.stats.replayed_steps == engine.stats.steps
    assert len(rollouts) == len(expected)


def test_non_finite_logits_name_the_rollout_and_the_device_lives_on() -> None:
    model, prompts = scratch_llama().to(DEVICE), prompts_of((5, 9, 300))
    engine = RolloutEngine(model)
    expected = engine.generate(prompts, 1, SAMPLED)
    weight = model.get_input_embeddings().weight
    clean = weight.detach().clone()
    with torch.no_grad():
        weight[expected[1].token_ids[0]] = float("nan")
    with pytest.raises(ValueError, match=r"not finite.*rollout 1 at its token 1\b"):
        engine.generate(prompts, 1, SAMPLED)
    with torch.no_grad():
        weight.copy_(clean)
    assert tokens(engine.generate(prompts, 1, SAMPLED)) == tokens(expected)


def test_a_model_that_waits_in_every_step_runs_eagerly_and_says_so() -> None:
    model, prompts = scratch_llama().to(DEVICE), prompts_of(LENGTHS)
    expected = tokens(RolloutEngine(model, cuda_graphs=False).generate(prompts, 2, SAMPLED))
    model.lm_head.register_forward_hook(lambda module, inputs, output: output + output.isnan().sum().item())
    engine = RolloutEngine(model)
    with pytest.warns(UserWarning, match="host wait for the device"):
        rollouts = engine.generate(prompts, 2, SAMPLED)
    assert tokens(rollouts) == expected
    assert engine.stats.replayed_steps == 0


def test_release_gives_the_memory_back() -> None:
    model, prompts = half(), prompts_of(LENGTHS)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(DEVICE)
    engine = RolloutEngine(model, cache_gib=0.05)
    engine.generate(prompts, 3, SAMPLED)
    assert torch.cuda.memory_allocated(DEVICE) > before
    engine.release()
    assert torch.cuda.memory_allocated(DEVICE) <= before + 2**20
