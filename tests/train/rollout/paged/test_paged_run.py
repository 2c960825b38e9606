"""Rollouts over a block table on a CPU: the code that CUDA runs, held to `generate` and to the dense path."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import CAPPED_FAMILIES, FAMILIES, STOP, largest_gap, prompts_of, scratch_llama
from transformers import PreTrainedModel

from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling, Thinking
from train.rollout.paged.pool import page_bytes

PAGE = 16
LENGTHS = (1, 5, 31, 32, 33, 64, 70)
GREEDY = Sampling(max_new_tokens=40, stop_ids=(STOP,), temperature=0.0)
SAMPLED = Sampling(max_new_tokens=40, stop_ids=(STOP, 7))


def tokens(rollouts: list[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


def gib_of_pages(model: torch.nn.Module, pages: int) -> float:
    """The `cache_gib` of a pool of `pages` pages, the scratch page among them."""
    return (pages + 0.5) * page_bytes(RolloutEngine(model).layers, PAGE) / 2**30


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_generate(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of(LENGTHS)
    expected = GenerateBackend(model, 0).generate(prompts, 1, GREEDY)
    assert tokens(RolloutEngine(model, page_tokens=PAGE).generate(prompts, 1, GREEDY)) == tokens(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_rollouts_equal_the_dense_path(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of(LENGTHS)
    expected = RolloutEngine(model).generate(prompts, 3, SAMPLED)
    rollouts = RolloutEngine(model, page_tokens=PAGE, max_rows=9, chunk_tokens=48).generate(prompts, 3, SAMPLED)
    assert [(r.token_ids, r.finish_reason) for r in rollouts] == [(r.token_ids, r.finish_reason) for r in expected]
    assert largest_gap(model, prompts, rollouts) < 1e-4


@pytest.mark.parametrize("family", CAPPED_FAMILIES)
def test_soft_capped_scores_and_sinks_are_computed_over_pages(family: str) -> None:
    model, prompts = CAPPED_FAMILIES[family](), prompts_of((5, 33, 70))
    engine = RolloutEngine(model, page_tokens=PAGE, max_rows=4, chunk_tokens=48)  # which has tried it out
    assert not engine.layers[0].plain
    rollouts = engine.generate(prompts, 2, SAMPLED)
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_bfloat16_logprobs_are_near_those_of_the_dense_path() -> None:
    model, prompts = scratch_llama().bfloat16(), prompts_of((5, 40))
    expected = RolloutEngine(model).generate(prompts, 2, SAMPLED)
    rollouts = RolloutEngine(model, page_tokens=PAGE).generate(prompts, 2, SAMPLED)
    gaps = [abs(r.logprobs[0] - e.logprobs[0]) for r, e in zip(rollouts, expected, strict=True)]
    assert max(gaps) < 0.1


@pytest.mark.parametrize(("dtype", "gap"), [(torch.bfloat16, 0.5), (torch.float16, 0.05)])
def test_keys_and_values_of_autocast_share_one_type(dtype: torch.dtype, gap: float) -> None:
    model, prompts = scratch_llama(), prompts_of((5, 40))
    engine = RolloutEngine(model, page_tokens=PAGE)
    with torch.autocast("cpu", dtype):
        rollouts = engine.generate(prompts, 2, SAMPLED)
        assert largest_gap(model, prompts, rollouts) < gap
    assert engine.decoder is not None
    assert {pool.dtype for pool in (*engine.decoder.pool.keys, *engine.decoder.pool.values)} == {dtype}


@pytest.mark.parametrize("changes", [{"temperature": 0.6}, {"top_p": 0.8, "top_k": 30, "min_p": 0.01}])
def test_distributions_other_than_the_models_own_are_drawn_alike(
    llama: PreTrainedModel, changes: dict[str, float]
) -> None:
    prompts, sampling = prompts_of((5, 40)), Sampling(max_new_tokens=30, stop_ids=(STOP,), **changes)
    expected = RolloutEngine(llama).generate(prompts, 4, sampling)
    rollouts = RolloutEngine(llama, page_tokens=PAGE).generate(prompts, 4, sampling)
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(llama, prompts, rollouts, sampling.temperature) < 1e-4


def test_rollouts_survive_preemption(llama: PreTrainedModel) -> None:
    prompts, sampling = prompts_of(LENGTHS), Sampling(max_new_tokens=80, stop_ids=(STOP,))
    expected = RolloutEngine(llama).generate(prompts, 3, sampling)
    engine = RolloutEngine(llama, page_tokens=PAGE, cache_gib=gib_of_pages(llama, 24))
    engine.generate(prompts, 1, Sampling(max_new_tokens=1, stop_ids=()))  # so that it expects short rollouts
    rollouts = engine.generate(prompts, 3, sampling)
    assert engine.stats.preemptions > 0
    assert engine.stats.peak_blocks <= 24
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(llama, prompts, rollouts) < 1e-4


@pytest.mark.parametrize(
    "thinking",
    [
        Thinking(110, 111, budget=10, closing_ids=(112, 111)),
        Thinking(110, 111, budget=30, closing_ids=(112, 111), minimum=20, wait_ids=(113, 112), extensions=2),
    ],
)
def test_thinking_budgets_are_kept_as_on_the_dense_path(llama: PreTrainedModel, thinking: Thinking) -> None:
    prompts = [[*prompts_of((20,))[0], 110], prompts_of((33,))[0]]
    sampling = Sampling(max_new_tokens=60, stop_ids=(STOP,), temperature=1.5, thinking=thinking)
    expected = RolloutEngine(llama).generate(prompts, 12, sampling)
    rollouts = RolloutEngine(llama, page_tokens=PAGE).generate(prompts, 12, sampling)
    assert any(rollout.forced for rollout in expected)
    for rollout, other in zip(rollouts, expected, strict=True):
        assert rollout.token_ids == other.token_ids
        assert (rollout.finish_reason, rollout.thinking_tokens) == (other.finish_reason, other.thinking_tokens)
        assert rollout.forced == other.forced


def test_unmerged_lora_is_rolled_out(llama: PreTrainedModel) -> None:
    prompts = prompts_of((5, 40))
    adapted = get_peft_model(llama, LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    rollouts = RolloutEngine(adapted.train(), page_tokens=PAGE).generate(prompts, 2, SAMPLED)
    assert largest_gap(adapted.eval(), prompts, rollouts) < 1e-4


def test_a_common_system_prompt_is_prefilled_once(llama: PreTrainedModel) -> None:
    system, questions = prompts_of((96,))[0], prompts_of((20, 25, 30), seed=1)
    prompts, engine = [system + question for question in questions], RolloutEngine(llama, page_tokens=PAGE)
    rollouts = engine.generate(prompts, 8, SAMPLED)
    assert engine.stats.prefill_tokens == 96 + 20 + 25 + 30
    assert largest_gap(llama, prompts, rollouts) < 1e-4


def test_sliding_window_longer_and_shorter_than_the_prompt_is_kept() -> None:
    model = FAMILIES["gemma3"]()
    prompts = prompts_of((3, 20, 24, 25, 90, 90))
    prompts[-1][:70] = prompts[-2][:70]
    engine = RolloutEngine(model, page_tokens=PAGE, chunk_tokens=16)
    rollouts = engine.generate(prompts, 3, Sampling(max_new_tokens=60, stop_ids=()))
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_one_step_more_than_the_host_knows_is_run_and_not_counted(llama: PreTrainedModel) -> None:
    engine = RolloutEngine(llama, page_tokens=PAGE)
    (rollout,) = engine.generate(prompts_of((5,)), 1, Sampling(max_new_tokens=10, stop_ids=()))
    assert len(rollout.token_ids) == engine.stats.new_tokens == 10
    assert engine.stats.steps == 10  # the first token comes from the prefill, and the last step draws none


def test_every_page_comes_back_and_what_is_kept_serves_the_next_call(llama: PreTrainedModel) -> None:
    engine, prompts = RolloutEngine(llama, page_tokens=PAGE), prompts_of(LENGTHS)
    first = engine.generate(prompts, 2, SAMPLED)
    kept = engine.decoder
    assert engine.generate(prompts, 2, SAMPLED) == first
    assert engine.decoder is kept
    engine.generate(prompts, 9, Sampling(max_new_tokens=200, stop_ids=()))
    assert engine.decoder is not kept
    assert engine.generate(prompts, 2, SAMPLED) == first
    engine.release()
    assert engine.decoder is None
    assert engine.generate(prompts, 2, SAMPLED) == first


def test_non_finite_logits_name_the_rollout_and_leave_no_trace(llama: PreTrainedModel) -> None:
    prompts, engine = prompts_of((5, 9, 40)), RolloutEngine(llama, page_tokens=PAGE)
    sampling = Sampling(max_new_tokens=20, stop_ids=(STOP,))
    expected = engine.generate(prompts, 1, sampling)
    weight = llama.get_input_embeddings().weight
    clean = weight.detach().clone()
    with torch.no_grad():
        weight[expected[1].token_ids[0]] = float("nan")
    with pytest.raises(ValueError, match=r"not finite.*rollout 1 at its token 1\b"):
        engine.generate(prompts, 1, sampling)
    with torch.no_grad():
        weight.copy_(clean)
    assert engine.generate(prompts, 1, sampling) == expected


def test_a_cache_too_small_for_one_rollout_is_refused(llama: PreTrainedModel) -> None:
    engine = RolloutEngine(llama, page_tokens=PAGE, cache_gib=gib_of_pages(llama, 4))
    with pytest.raises(ValueError, match="too few for one rollout of up to 80"):
        engine.generate(prompts_of((40,)), 1, SAMPLED)
