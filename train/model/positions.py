"""Positions behind padding: TRL pads prompts on the left, and a learnt position must not count the padding.

Rotary embeddings see differences of positions alone. Families with learnt ones (GPT-2, BioGPT) count from the mask in
`generate`, but not in a plain forward, which is what the loss takes.
"""

import inspect
from typing import Any

import torch

from train.rollout.module_state import base_model, evaluation_mode
from train.rollout.support import model_name, text_config

PROBE_TOKENS, PADDING = 5, 3
LARGEST = 1e-3  # of the gap in fp32, as the trial of the engine has it
MEAN_IN_HALF = 0.2  # half precision rounds logits by up to 0.06, so there the mean counts


def count_from_mask(model: torch.nn.Module) -> None:
    """Have `model` count positions from the mask where it is given no positions and has no rotary embeddings."""
    base = base_model(model)
    takes_positions = "position_ids" in inspect.signature(base.forward).parameters
    if takes_positions and not getattr(text_config(model), "rope_parameters", None):
        base.register_forward_pre_hook(_add_positions, with_kwargs=True)


def _add_positions(module: torch.nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if inputs.get("position_ids") is not None or ids is None or mask is None or mask.shape != ids.shape:
        return None
    return args, inputs | {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}  # (rows, tokens)


def refuse_shifted(model: torch.nn.Module) -> None:
    """Raise ValueError where padding on the left changes what `model` gives for the tokens behind it."""
    device = next(model.parameters()).device
    plain = torch.arange(PROBE_TOKENS, device=device).unsqueeze(0)
    padded = torch.cat([plain.new_zeros(1, PADDING), plain], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :PADDING] = 0
    with evaluation_mode(model):
        one = model(input_ids=plain, attention_mask=torch.ones_like(plain), use_cache=False).logits
        other = model(input_ids=padded, attention_mask=mask, use_cache=False).logits[:, PADDING:]
    one, other = one.float().log_softmax(-1), other.float().log_softmax(-1)
    gap = (one - other).abs()
    exact = next(model.parameters()).dtype == torch.float32
    right = gap.max() <= LARGEST * one.std(-1).mean().clamp(max=1.0) if exact else gap.mean() <= MEAN_IN_HALF
    if not right:
        raise ValueError(
            f"{model_name(model)} cannot be trained here: prompts are padded on the left, and behind {PADDING} tokens "
            f"of padding its log-probabilities differ by up to {float(gap.max()):.2g}."
        )
