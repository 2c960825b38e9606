"""Tokens that are masked out of the loss, beside padding.

- Truncated rollouts: by TRL, where `mask_truncated_completions` is true. It zeroes their rows of `completion_mask` as
  it scores a batch (`GRPOTrainer._generate_and_score_completions`).
- Tokens that the engine wrote to end the thinking in time: `own_tokens`.
- Rows without advantage, which is a matter of speed alone: `mask_zero_advantage_rows`. Where every sample of a group
  got the same reward, the advantages are zero. Without a reference model these rows add nothing to the loss or its
  gradient, however long they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Batch = dict[str, Any]

# Losses that divide by the rows of the micro-batch or by an earlier count. `bnpo` divides by the unmasked tokens of the
# micro-batch itself, which `mask_zero_advantage_rows` changes.
MASKABLE_LOSSES = ("grpo", "dr_grpo", "dapo", "cispo")


def own_tokens(completions: Sequence[Sequence[int]], forced: Sequence[Sequence[bool] | None]) -> list[list[int]]:
    """TRL's `tool_mask`, row by row: 1 for a token that the model chose, 0 for one that was `forced`."""
    return [
        [1] * len(ids) if flags is None else [1 - flag for flag in flags]
        for ids, flags in zip(completions, forced, strict=True)
    ]


def mask_zero_advantage_rows(batch: Batch) -> Batch:
    """Mask the completions of rows whose advantage is zero, so that trimming makes them almost free.

    The rows stay, because every process must gather the same number. Valid only for the types in `MASKABLE_LOSSES`, and
    only without a term that acts on these rows (reference model, entropy bonus, balance of experts) or takes a
    threshold over them (`top_entropy_quantile`).
    """
    has_advantage = (batch["advantages"] != 0).unsqueeze(1)  # (rows, 1)
    return batch | {"completion_mask": batch["completion_mask"] * has_advantage}


def masks_zero_advantages(options: Mapping[str, Any]) -> bool:
    """Whether a run with these options in its config.yaml masks such rows, as `ReasoningTrainer._prepare_inputs` does.

    The balance of experts is no option: a run that has it logs an `aux_loss`, and masks none.
    """
    accumulated = options.get("gradient_accumulation_steps", 1)
    one_update = options.get("steps_per_generation", accumulated) == accumulated
    others = any(options.get(name) for name in ("beta", "entropy_coef", "use_adaptive_entropy"))
    whole = options.get("num_iterations", 1) == options.get("top_entropy_quantile", 1) == 1
    return one_update and whole and not others and options.get("loss_type") in MASKABLE_LOSSES
