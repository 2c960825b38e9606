"""The engine on CUDA, eager: the same steps as on a CPU, tensors on the device."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.rollout.engine import RolloutEngine
from train.rollout.generate import GenerateBackend
from train.rollout.interface import Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def test_greedy_tokens_equal_generate_on_cuda() -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=120, num_key_value_heads=2, **size)
    model = LlamaForCausalLM(config).cuda().eval()
    prompts = [torch.randint(3, 120, (length,)).tolist() for length in (1, 5, 33, 70)]
    sampling = Sampling(max_new_tokens=40, stop_ids=(1,), temperature=0.0)
    expected = GenerateBackend(model, 0).generate(prompts, 1, sampling)
    rollouts = RolloutEngine(model).generate(prompts, 1, sampling)
    assert [rollout.token_ids for rollout in rollouts] == [rollout.token_ids for rollout in expected]
