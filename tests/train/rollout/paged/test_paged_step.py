"""The step touches nothing but the device: run on meta tensors, where every look at a value is an error."""

from typing import Any

import pytest
import torch
from rollout_models import FAMILIES, STOP
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers import Phi3Config, Phi3ForCausalLM

from train.rollout.interface import Sampling, Thinking
from train.rollout.module_state import engine_mode
from train.rollout.paged.attention import gathered_attention, varlen_attention
from train.rollout.paged.pool import PAGE_TOKENS, PagedPool
from train.rollout.paged.state import RolloutState, Rules
from train.rollout.paged.step import Batch, decode
from train.rollout.support import probe

META = torch.device("meta")
THINKING = Thinking(110, 111, budget=20, closing_ids=(112, 111), minimum=9, wait_ids=(113,), extensions=2)
SAMPLINGS = {
    "whole": Sampling(max_new_tokens=8, stop_ids=(STOP,)),
    "greedy": Sampling(max_new_tokens=8, stop_ids=(STOP,), temperature=0.0),
    "truncated": Sampling(max_new_tokens=8, stop_ids=(STOP, 7), temperature=0.7, top_p=0.9, top_k=20, min_p=0.01),
    "thinking": Sampling(max_new_tokens=8, stop_ids=(STOP,), thinking=THINKING),
}


class OnMetaOnly(TorchDispatchMode):
    """Fails where an operator takes or gives a tensor of the host, or gives one whose shape depends on data."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for value in tree_flatten((args, kwargs, output))[0]:
            assert not isinstance(value, torch.Tensor) or value.device == META, f"{func} touches the host"
        return output


def run_on_meta(model: torch.nn.Module, sampling: Sampling, kernel: Any) -> torch.Tensor:
    """One step of 4 rows with the weights, the pool and the state on the meta device; its outputs."""
    layers = probe(model)
    model.to(META)
    pool, state = PagedPool(layers, 9, PAGE_TOKENS, META), RolloutState(16, META)
    starts = torch.arange(5, dtype=torch.int32, device=META)
    batch = Batch(
        rollouts=torch.zeros(4, dtype=torch.int64, device=META),
        table=torch.zeros(4, 2, dtype=torch.int32, device=META),
        query_starts=starts,
        key_starts=starts * 512,
        outputs=torch.zeros(4, 4, dtype=torch.int32, device=META),
    )
    ids = torch.zeros(max(1, len(sampling.stop_ids)), dtype=torch.int64, device=META)
    rules = Rules(ids, sampling.thinking, ids.new_zeros(3, 2), ids.new_zeros(3))
    with engine_mode(model), OnMetaOnly():
        decode(model, pool, [kernel] * len(layers), state, batch, sampling, rules)
    return batch.outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_needs_nothing_from_the_host(family: str) -> None:
    assert run_on_meta(FAMILIES[family](), SAMPLINGS["thinking"], gathered_attention).shape == (4, 4)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_step_in_half_precision_goes_through_varlen_attention(family: str, sampling: str) -> None:
    assert run_on_meta(FAMILIES[family]().bfloat16(), SAMPLINGS[sampling], varlen_attention).shape == (4, 4)


def test_a_model_that_looks_at_its_positions_is_found_out() -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    size = {"vocab_size": 120, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "pad_token_id": 0}
    config = Phi3Config(
        **size,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=256,
        rope_parameters={**rope, "original_max_position_embeddings": 256},
    )
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta|meta"):
        run_on_meta(Phi3ForCausalLM(config), SAMPLINGS["whole"], gathered_attention)
