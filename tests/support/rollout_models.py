"""Tiny random models of every family that the engine is proven on, and the reference that it is compared with."""

from collections.abc import Sequence

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from train.rollout.dense.dense_steps import MOST_TO_WORK_IN
from train.rollout.dense.pool import bytes_per_block
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout

VOCAB = 120
STOP = 1

_SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": STOP,
    "tie_word_embeddings": False,
}


def sharpened(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Random weights large enough that a wrong mask, position or cache entry shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(0, 0.25, generator=generator)
    return model.eval()


def scratch_llama(**changes: object) -> PreTrainedModel:
    """A Llama."""
    return sharpened(LlamaForCausalLM(LlamaConfig(**{**_SIZE, **changes})))


def _gemma3() -> PreTrainedModel:
    config = Gemma3TextConfig(
        **_SIZE,
        head_dim=16,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    return sharpened(Gemma3ForCausalLM(config))


FAMILIES = {
    "llama": scratch_llama,
    "qwen2": lambda: sharpened(Qwen2ForCausalLM(Qwen2Config(**_SIZE))),
    "qwen3": lambda: sharpened(Qwen3ForCausalLM(Qwen3Config(**_SIZE, head_dim=32))),
    "gemma3": _gemma3,
    "smollm3": lambda: sharpened(SmolLM3ForCausalLM(SmolLM3Config(**_SIZE))),
    "phi3": lambda: sharpened(Phi3ForCausalLM(Phi3Config(**_SIZE))),
}

# Beside them, what the fused layers are proven on.
FUSED_FAMILIES = {
    **{name: FAMILIES[name] for name in ("llama", "qwen2", "qwen3", "gemma3", "smollm3")},
    "mistral": lambda: sharpened(MistralForCausalLM(MistralConfig(**_SIZE, sliding_window=20))),
}


def _gemma2() -> PreTrainedModel:
    config = Gemma2Config(
        **_SIZE, head_dim=16, sliding_window=24, attn_logit_softcapping=2.0, final_logit_softcapping=5.0
    )
    config._attn_implementation = "eager"  # its attention through sdpa leaves soft-capping out
    return sharpened(Gemma2ForCausalLM(config))


def _gpt_oss() -> PreTrainedModel:
    config = GptOssConfig(**_SIZE, head_dim=16, sliding_window=24, num_local_experts=4, num_experts_per_tok=2)
    model = sharpened(GptOssForCausalLM(config))
    for layer in model.model.layers:
        layer.self_attn.sinks.data.copy_(torch.linspace(-1, 2, config.num_attention_heads))
    return model


# Those whose scores are soft-capped or share their weight with sinks: over pages alone.
CAPPED_FAMILIES = {"gemma2": _gemma2, "gpt_oss": _gpt_oss}


def prompts_of(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Random prompts of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB, (length,), generator=generator).tolist() for length in lengths]


def reference_logprobs(
    model: torch.nn.Module, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities (tokens,) of `completion` by one plain forward of the whole sequence."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = (
            model(torch.tensor([[*prompt, *completion]], device=device)).logits[0, len(prompt) - 1 : -1].float().cpu()
        )
    return (logits / (temperature or 1.0)).log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def largest_gap(
    model: torch.nn.Module, prompts: Sequence[Sequence[int]], rollouts: Sequence[Rollout], temperature: float = 1.0
) -> float:
    """The largest difference between the rollouts' log-probabilities and the plain forward's."""
    samples = len(rollouts) // len(prompts)
    return max(
        (torch.tensor(r.logprobs) - reference_logprobs(model, prompts[i // samples], r.token_ids, temperature))
        .abs()
        .max()
        .item()
        for i, r in enumerate(rollouts)
    )


def gib_of_blocks(model: torch.nn.Module, blocks: int) -> float:
    """The `cache_gib` that gives a pool of `blocks` blocks, where a step works in a quarter of it or more."""
    return (blocks + 0.5) * bytes_per_block(RolloutEngine(model).layers) / (1 - MOST_TO_WORK_IN) / 2**30
