"""The `generate` back end draws from the distribution that it is asked for, whatever a checkpoint's own config adds."""

import pytest
import torch
from rollout_models import STOP, largest_gap, prompts_of
from transformers import GenerationConfig, PreTrainedModel

from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.interface import Sampling


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 5.0},
        {"suppress_tokens": list(range(20, 110))},
        {"top_k": 1, "do_sample": True},
        {"temperature": 0.1, "do_sample": True},
        {"num_beams": 2},
        {"no_repeat_ngram_size": 1},
        {"typical_p": 0.2, "do_sample": True},
        {"min_new_tokens": 19},
        {"forced_eos_token_id": 9},
    ],
    ids=lambda own: next(iter(own)),
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_checkpoints_own_generation_config_changes_nothing(
    llama: PreTrainedModel, own: dict[str, object], temperature: float
) -> None:
    prompts, sampling = prompts_of((5, 12)), Sampling(20, (STOP,), temperature=temperature)
    llama.generation_config = GenerationConfig(eos_token_id=STOP)
    expected = GenerateBackend(llama, 0).generate(prompts, 3, sampling)
    llama.generation_config = config = GenerationConfig(eos_token_id=STOP, **own)
    assert GenerateBackend(llama, 0).generate(prompts, 3, sampling) == expected
    assert llama.generation_config is config


def test_without_stop_ids_it_runs_to_the_length(llama: PreTrainedModel) -> None:
    llama.generation_config.eos_token_id = list(range(60))
    torch.manual_seed(0)
    rollouts = GenerateBackend(llama, 0, with_logprobs=True).generate(prompts_of((5,)), 2, Sampling(12, ()))
    assert [len(rollout.token_ids) for rollout in rollouts] == [12, 12]
    assert largest_gap(llama, prompts_of((5,)), rollouts) < 1e-4
