"""A caller's request: checked on entry, with duplicates of a prompt merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from train.rollout.interface import Sampling

# Rotary embeddings whose frequencies switch with the longest sequence in the batch: keys cached before the switch
# would not match queries after it, in `generate` no less than here.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
# Names in configurations for the longest sequence; attribute maps give most of them the first name too.
_LONGEST = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
NO_BOUND = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `RolloutEngine.generate`; its arguments are documented there."""

    prompts: Sequence[Sequence[int]]
    samples: int
    sampling: Sampling
    problems: Sequence[int] | None
    sample_numbers: Sequence[int] | None
    step: int


def check_request(
    prompts: Sequence[Sequence[int]], samples_per_prompt: int, sampling: Sampling, config: PreTrainedConfig, vocab: int
) -> None:
    """Raise ValueError for the first part of the request that cannot be done."""
    if samples_per_prompt < 1:
        raise ValueError(f"samples_per_prompt is {samples_per_prompt}; ask for at least 1.")
    tokens = [("stop id", token) for token in sampling.stop_ids]
    if sampling.thinking is not None:
        thinking = sampling.thinking
        token_ids = (thinking.open_id, thinking.close_id, *thinking.closing_ids, *thinking.wait_ids)
        tokens += [("thinking token id", token) for token in token_ids]
    for what, token in tokens:
        if not 0 <= token < vocab:
            raise ValueError(f"{what} {token} is outside the model's vocabulary of {vocab} tokens.")
    context = longest_sequence(config)
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {number} is empty; give it at least one token, such as the BOS token.")
        if min(prompt) < 0 or max(prompt) >= vocab:
            bad = next(token for token in prompt if not 0 <= token < vocab)
            raise ValueError(f"prompt {number} holds token {bad}, outside the model's vocabulary of {vocab} tokens.")
        if len(prompt) + sampling.max_new_tokens > context:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens; with max_new_tokens {sampling.max_new_tokens} that is more "
                f"than the model's context of {context}. Shorten the prompt or lower max_new_tokens."
            )


def longest_sequence(config: PreTrainedConfig) -> int:
    """The longest sequence that the model of `config` reads with positions of constant meaning. The bound comes from
    learnt positions or from the range of rotary embeddings; None where the configuration names neither.
    """
    longest = next((value for name in _LONGEST if isinstance(value := getattr(config, name, None), int)), NO_BOUND)
    for rope in _ropes(config):
        if rope.get("rope_type") in _LENGTH_DEPENDENT_ROPE:
            original = rope.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            longest = min(longest, int(original or longest))
    return longest


def _ropes(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """The rotary embeddings of a model: none, one, or, where kinds of layers differ, one for each kind."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [value for value in parameters.values() if isinstance(value, dict)]
    return [parameters, *kinds] if "rope_type" in parameters else kinds


def vocabulary_size(model: Any) -> int:
    """Rows of the output projection: the width of the logits."""
    return model.get_output_embeddings().weight.shape[0]


def distinct_prompts(prompts: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """The positions of each distinct prompt, in the order of first appearance."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(tuple(prompt), []).append(place)
    return places
