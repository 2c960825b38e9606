"""On CUDA: compiled layers in graphs, rollouts that do not depend on their batch, packed attention in half types."""

import dataclasses

import pytest
import torch
from rollout_models import FAMILIES, STOP, prompts_of, scratch_llama

from train.loss.packed_attention import Span, packed_attention, packing_of
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

DEVICE = torch.device("cuda", 0)
SAMPLED = Sampling(max_new_tokens=40, stop_ids=(STOP,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_layers_are_replayed_and_stay_near_a_full_forward(dtype: torch.dtype) -> None:
    model, prompts = FAMILIES["phi3"]().to(DEVICE, dtype), prompts_of((1, 5, 70))
    engine = RolloutEngine(model)
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert engine.forward is not None and engine.forward.name.startswith("compiled layers (")
    assert engine.stats.replayed_steps == engine.stats.steps
    gap = compare(prompts, rollouts, forward_logprobs(model), most=len(rollouts)).mean
    assert gap < (1e-4 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_deterministic_rollouts_are_the_same_alone_and_among_others(dtype: torch.dtype) -> None:
    model, prompts = scratch_llama().to(DEVICE, dtype), prompts_of((5, 300, 70))
    long = dataclasses.replace(SAMPLED, stop_ids=())
    together = RolloutEngine(model, deterministic=True, chunk_tokens=48).generate(prompts, 20, long)
    alone = RolloutEngine(model, deterministic=True).generate(prompts[1:2], 1, long, sample_numbers=[7])[0]
    assert (alone.token_ids, alone.logprobs) == (together[27].token_ids, together[27].logprobs)


@pytest.mark.parametrize("window", [None, 24])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_packed_attention_by_flash_is_that_row_by_row(dtype: torch.dtype, window: int | None) -> None:
    spans = [Span(0, 40), Span(40, 41), Span(41, 110, 0, 30), Span(110, 130)]
    packing = packing_of(spans, DEVICE)
    parts = [torch.randn(1, heads, 130, 64, device=DEVICE, dtype=dtype) for heads in (6, 2, 2)]
    whole = [part.float().requires_grad_() for part in parts]
    half = [part.clone().requires_grad_() for part in parts]
    module, results = torch.nn.Module(), []
    for inputs in (half, whole):
        output, _ = packed_attention(module, *inputs, None, packing=packing, sliding_window=window)
        (output.float() * torch.arange(64, device=DEVICE).cos()).sum().backward()
        results.append(output.float())
    close = {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(results[0], results[1], **close)
    for one, other in zip(half, whole, strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad.float(), other.grad, **close)
