"""The engine against `generate` and against a plain forward, and against itself under other schedules."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import (
    FAMILIES,
    STOP,
    VOCAB,
    gib_of_blocks,
    largest_gap,
    prompts_of,
    reference_logprobs,
    scratch_llama,
)
from transformers import PreTrainedModel

from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling

LENGTHS = (1, 5, 31, 32, 33, 64, 70)
GREEDY = Sampling(max_new_tokens=40, stop_ids=(STOP,), temperature=0.0)
# Seed 0 has a draw within 7e-7 of the edge between two tokens, where the last bits of the logits decide.
SAMPLED = Sampling(max_new_tokens=40, stop_ids=(STOP, 7), seed=1)


def tokens(rollouts: list[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_generate(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of(LENGTHS)
    expected = GenerateBackend(model, 0).generate(prompts, 1, GREEDY)
    assert tokens(RolloutEngine(model).generate(prompts, 1, GREEDY)) == tokens(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_equal_a_full_forward(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of(LENGTHS)
    rollouts = RolloutEngine(model, max_rows=9, chunk_tokens=48).generate(prompts, 3, SAMPLED)
    assert largest_gap(model, prompts, rollouts) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_logprobs_are_near_a_full_forward(family: str) -> None:
    model, prompts = FAMILIES[family]().bfloat16(), prompts_of((5, 40))
    rollouts = RolloutEngine(model).generate(prompts, 2, SAMPLED)
    gaps = [
        (torch.tensor(r.logprobs) - reference_logprobs(model, prompts[i // 2], r.token_ids)).abs().mean()
        for i, r in enumerate(rollouts)
    ]
    assert torch.stack(gaps).mean() < 0.1


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_unmerged_lora_is_rolled_out(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of((5, 40))
    base = RolloutEngine(model).generate(prompts, 2, SAMPLED)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.train()
    rollouts = RolloutEngine(adapted).generate(prompts, 2, SAMPLED)
    assert tokens(rollouts) != tokens(base)
    assert largest_gap(adapted.eval(), prompts, rollouts) < 1e-4


def test_temperature_scales_the_logprobs(llama: PreTrainedModel) -> None:
    prompts = prompts_of((5, 40))
    sampling = Sampling(max_new_tokens=20, stop_ids=(STOP,), temperature=0.6)
    rollouts = RolloutEngine(llama).generate(prompts, 3, sampling)
    assert largest_gap(llama, prompts, rollouts, temperature=0.6) < 1e-4


def test_weights_changed_in_place_are_used_at_once(llama: PreTrainedModel) -> None:
    engine, prompts = RolloutEngine(llama), prompts_of((5, 40))
    before = engine.generate(prompts, 2, SAMPLED)
    with torch.no_grad():
        for parameter in llama.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    after = engine.generate(prompts, 2, SAMPLED)
    assert tokens(before) != tokens(after)
    assert largest_gap(llama, prompts, after) < 1e-4


@pytest.mark.parametrize("max_rows", [1, 7, 64])
@pytest.mark.parametrize("chunk_tokens", [16, 512])
def test_rollouts_do_not_depend_on_the_batch(llama: PreTrainedModel, max_rows: int, chunk_tokens: int) -> None:
    prompts, samples = prompts_of((5, 33, 70)), 24  # 72 rows, more than run at once
    expected = RolloutEngine(llama).generate(prompts, samples, SAMPLED)
    engine = RolloutEngine(llama, max_rows=max_rows, chunk_tokens=chunk_tokens)
    assert tokens(engine.generate(prompts, samples, SAMPLED)) == tokens(expected)
    assert engine.stats.decode_rows / engine.stats.steps <= max_rows


def test_rollouts_do_not_depend_on_the_order_or_company_of_prompts(llama: PreTrainedModel) -> None:
    prompts, engine = prompts_of(LENGTHS), RolloutEngine(llama)
    together = tokens(engine.generate(prompts, 2, SAMPLED))
    backwards = tokens(engine.generate(prompts[::-1], 2, SAMPLED))
    alone = [rollout for prompt in prompts for rollout in tokens(engine.generate([prompt], 2, SAMPLED))]
    assert alone == together
    assert backwards == [rollout for i in reversed(range(7)) for rollout in together[2 * i : 2 * i + 2]]


def test_rollouts_survive_preemption(llama: PreTrainedModel) -> None:
    prompts = prompts_of(LENGTHS)
    sampling = Sampling(max_new_tokens=80, stop_ids=(STOP,))
    expected = RolloutEngine(llama).generate(prompts, 3, sampling)
    engine = RolloutEngine(llama, cache_gib=gib_of_blocks(llama, 12))
    engine.generate(prompts, 1, Sampling(max_new_tokens=1, stop_ids=()))  # so that it expects short rollouts
    rollouts = engine.generate(prompts, 3, sampling)
    assert engine.stats.preemptions > 0
    assert engine.stats.block_limit == 12 and engine.stats.peak_blocks <= 12
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(llama, prompts, rollouts) < 1e-4


def test_seed_and_step_change_the_rollouts(llama: PreTrainedModel) -> None:
    engine, prompts = RolloutEngine(llama), prompts_of((5,))
    first = tokens(engine.generate(prompts, 3, SAMPLED))
    assert tokens(engine.generate(prompts, 3, SAMPLED)) == first
    assert tokens(engine.generate(prompts, 3, SAMPLED, step=1)) != first
    assert tokens(engine.generate(prompts, 3, Sampling(max_new_tokens=40, stop_ids=(STOP, 7), seed=2))) != first


def test_samples_of_a_group_differ_and_a_repeated_prompt_goes_on_with_new_samples(llama: PreTrainedModel) -> None:
    engine, (prompt,) = RolloutEngine(llama), prompts_of((40,))
    group = tokens(engine.generate([prompt], 6, SAMPLED))
    assert len({tuple(completion) for completion in group}) == 6
    assert tokens(engine.generate([prompt] * 6, 1, SAMPLED)) == group


def test_missing_samples_can_be_drawn_alone(llama: PreTrainedModel) -> None:
    prompts = prompts_of((5, 40))
    every = RolloutEngine(llama).generate(prompts, 4, SAMPLED)
    rest = RolloutEngine(llama).generate([prompts[0], prompts[1], prompts[0]], 1, SAMPLED, sample_numbers=[3, 0, 1])
    assert tokens(rest) == tokens([every[3], every[4], every[1]])


def test_a_group_is_prefilled_once_and_a_common_system_prompt_too(llama: PreTrainedModel) -> None:
    system, questions = prompts_of((96,))[0], prompts_of((20, 25, 30), seed=1)
    engine = RolloutEngine(llama)
    engine.generate([system + question for question in questions], 8, SAMPLED)
    assert engine.stats.prefill_tokens == 96 + 20 + 25 + 30


def test_shared_system_prompt_gives_the_same_logprobs(llama: PreTrainedModel) -> None:
    system, questions = prompts_of((100,))[0], prompts_of((1, 20, 31, 64), seed=1)
    prompts = [system + question for question in questions]
    rollouts = RolloutEngine(llama, chunk_tokens=40, max_rows=6).generate(prompts, 3, SAMPLED)
    assert largest_gap(llama, prompts, rollouts) < 1e-4


def test_a_rollout_ends_with_its_stop_token_or_at_the_limit(llama: PreTrainedModel) -> None:
    rollouts = RolloutEngine(llama).generate(prompts_of(LENGTHS), 8, SAMPLED)
    assert {rollout.finish_reason for rollout in rollouts} == {"stop", "length"}
    for rollout in rollouts:
        assert all(token not in (STOP, 7) for token in rollout.token_ids[:-1])
        assert (rollout.token_ids[-1] in (STOP, 7)) == (rollout.finish_reason == "stop")
        assert rollout.finish_reason == "stop" or len(rollout.token_ids) == 40
        assert len(rollout.logprobs or []) == len(rollout.token_ids)


def test_finished_rollouts_are_reported_as_they_end(llama: PreTrainedModel) -> None:
    counts: list[int] = []
    seen: dict[int, Rollout] = {}
    engine = RolloutEngine(llama)
    rollouts = engine.generate(prompts_of(LENGTHS), 4, SAMPLED, counts.append, on_rollout=seen.__setitem__)
    assert sum(counts) == 28 and len(counts) > 1
    assert [seen[place] for place in range(28)] == rollouts


def test_sliding_window_longer_and_shorter_than_the_prompt_is_kept() -> None:
    model = FAMILIES["gemma3"]()
    prompts = prompts_of((3, 20, 24, 25, 90, 90))
    prompts[-1][:70] = prompts[-2][:70]
    rollouts = RolloutEngine(model, chunk_tokens=16).generate(prompts, 3, Sampling(max_new_tokens=60, stop_ids=()))
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_one_key_head_for_each_query_head() -> None:
    model = scratch_llama(num_key_value_heads=4)
    prompts = prompts_of((40, 3))
    assert largest_gap(model, prompts, RolloutEngine(model).generate(prompts, 4, SAMPLED)) < 1e-4


def test_first_tokens_follow_the_models_distribution(llama: PreTrainedModel) -> None:
    (prompt,) = prompts_of((5,))
    draws = 4000
    rollouts = RolloutEngine(llama).generate([prompt], draws, Sampling(max_new_tokens=1, stop_ids=()))
    with torch.no_grad():
        expected = llama(torch.tensor([prompt])).logits[0, -1].softmax(-1) * draws
    counts = torch.bincount(torch.tensor([r.token_ids[0] for r in rollouts]), minlength=VOCAB)
    common = expected >= 5
    observed = torch.cat([counts[common], counts[~common].sum().unsqueeze(0)])
    wanted = torch.cat([expected[common], expected[~common].sum().unsqueeze(0)])
    chi_square = ((observed - wanted) ** 2 / wanted).sum().item()
    degrees = len(wanted) - 1
    assert chi_square < degrees + 4 * (2 * degrees) ** 0.5
