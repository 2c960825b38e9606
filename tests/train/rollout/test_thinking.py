"""Thinking budgets: tokens forced, flagged and counted by token id."""

import pytest
import torch
from rollout_models import STOP, largest_gap, prompts_of
from transformers import PreTrainedModel

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling, Thinking

OPEN, CLOSE, NEWLINE, WAIT = 110, 111, 112, 113


def rollouts_with(
    model: PreTrainedModel, thinking: Thinking, *, opened: bool = True, samples: int = 24, limit: int = 60
) -> list[Rollout]:
    prompt = prompts_of((20,))[0] + ([OPEN] if opened else [])
    sampling = Sampling(max_new_tokens=limit, stop_ids=(STOP,), temperature=1.5, thinking=thinking)
    return RolloutEngine(model).generate([prompt], samples, sampling)


def count_thinking(tokens: list[int], opened: bool) -> int:
    """Tokens between the tags, counted the plain way."""
    count, thinking = 0, opened
    for token in tokens:
        if token == CLOSE:
            thinking = False
        elif thinking and token != STOP:
            count += 1
        if token == OPEN:
            thinking = True
    return count


def test_thinking_is_closed_at_the_budget_and_the_forced_tokens_are_flagged(llama: PreTrainedModel) -> None:
    rollouts = rollouts_with(llama, Thinking(OPEN, CLOSE, budget=10, closing_ids=(NEWLINE, CLOSE)))
    forced = [r for r in rollouts if r.forced is not None]
    assert forced
    for rollout in forced:
        first = (rollout.forced or []).index(True)
        assert count_thinking(rollout.token_ids[:first], opened=True) == 10
        assert rollout.token_ids[first : first + 2] == [NEWLINE, CLOSE]
        assert (rollout.forced or [])[first : first + 3] in ([True, True, False], [True, True])
        assert rollout.finish_reason == ("budget" if rollout.token_ids[-1] == STOP else "length")
    for rollout in rollouts:
        assert rollout.thinking_tokens == count_thinking(rollout.token_ids, opened=True)


def test_forced_tokens_carry_the_models_own_logprobs(llama: PreTrainedModel) -> None:
    rollouts = rollouts_with(llama, Thinking(OPEN, CLOSE, budget=10, closing_ids=(NEWLINE, CLOSE)))
    assert largest_gap(llama, [prompts_of((20,))[0] + [OPEN]], rollouts, temperature=1.5) < 1e-4


def test_budget_zero_closes_at_once(llama: PreTrainedModel) -> None:
    for rollout in rollouts_with(llama, Thinking(OPEN, CLOSE, budget=0, closing_ids=(CLOSE,))):
        assert rollout.token_ids[0] == CLOSE
        assert rollout.thinking_tokens == count_thinking(rollout.token_ids, opened=True)


def test_no_thinking_no_forcing(llama: PreTrainedModel) -> None:
    thinking = Thinking(OPEN, CLOSE, budget=3, closing_ids=(CLOSE,))
    for rollout in rollouts_with(llama, thinking, opened=False):
        assert rollout.thinking_tokens == count_thinking(rollout.token_ids, opened=False)
        assert (rollout.forced is None) == (rollout.thinking_tokens < 3)


def test_a_thinking_that_would_end_early_is_extended(llama: PreTrainedModel) -> None:
    with torch.no_grad():
        llama.lm_head.weight[CLOSE] = llama.lm_head.weight[:100].mean(0)
        bias = torch.zeros(len(llama.lm_head.weight))
        bias[CLOSE] = 4.0
    handle = llama.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    thinking = Thinking(OPEN, CLOSE, minimum=30, wait_ids=(WAIT, NEWLINE), extensions=2)
    rollouts = rollouts_with(llama, thinking)
    handle.remove()
    extended = [r for r in rollouts if r.forced is not None]
    assert len(extended) > len(rollouts) // 2
    for rollout in extended:
        written = [token for token, flag in zip(rollout.token_ids, rollout.forced or [], strict=True) if flag]
        assert written in ([WAIT, NEWLINE], [WAIT, NEWLINE] * 2)
        assert rollout.thinking_tokens == count_thinking(rollout.token_ids, opened=True)
        if CLOSE in rollout.token_ids and written == [WAIT, NEWLINE]:
            assert rollout.token_ids.index(CLOSE) >= 30


def test_a_prompt_that_closed_its_thinking_is_not_thinking(llama: PreTrainedModel) -> None:
    prompt = [*prompts_of((5,))[0], OPEN, 5, CLOSE]
    thinking = Thinking(OPEN, CLOSE, budget=2, closing_ids=(CLOSE,))
    sampling = Sampling(max_new_tokens=10, stop_ids=(STOP,), thinking=thinking)
    (rollout,) = RolloutEngine(llama).generate([prompt], 1, sampling)
    assert rollout.thinking_tokens == count_thinking(rollout.token_ids, opened=False)


def test_contradictory_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="lack close_id 111"):
        Thinking(OPEN, CLOSE, budget=5, closing_ids=(NEWLINE,))
    with pytest.raises(ValueError, match="wait_ids is empty"):
        Thinking(OPEN, CLOSE, extensions=1)
    with pytest.raises(ValueError, match="would end thinking"):
        Thinking(OPEN, CLOSE, wait_ids=(CLOSE,), extensions=1)
