"""Makes the loss cheap without changing it: micro-batches of similar lengths, no padding, no rows without advantage.

TRL pads a whole generation batch to its longest row and shuffles it into micro-batches, so most of what a micro-batch
computes is padding. Where every sample of a group got the same reward, the advantages are zero. Without a reference
model these rows add nothing to the loss or its gradient, however long they are.
"""

from collections.abc import Sequence
from typing import Any

import torch

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


def sort_rows(batch: Batch) -> Batch:
    """Order a generation batch by the length of its completions, so that its slices hold rows of like length."""
    order = torch.argsort(_lengths(batch["completion_mask"]), stable=True)  # (rows,)
    return {
        key: value[order] if isinstance(value, torch.Tensor) and value.dim() and len(value) == len(order) else value
        for key, value in batch.items()
    }


def trim_padding(batch: Batch) -> Batch:
    """Drop the columns that are masked in every row: left of the prompts, right of the completions."""
    prompt_width = max(1, int(batch["prompt_mask"].sum(1).max()))
    completion_width = max(1, int(_lengths(batch["completion_mask"]).max()))
    shape = batch["completion_ids"].shape
    trimmed = dict(batch)
    for key, value in batch.items():
        if key in ("prompt_ids", "prompt_mask"):
            trimmed[key] = value[:, value.size(1) - prompt_width :]  # (rows, prompt_width)
        elif isinstance(value, torch.Tensor) and value.shape == shape:
            trimmed[key] = value[:, :completion_width]  # (rows, completion_width)
    return trimmed


def _lengths(mask: torch.Tensor) -> torch.Tensor:
    """One past the last unmasked column of each row, 0 where there is none, (rows,)."""
    columns = torch.arange(1, mask.size(1) + 1, device=mask.device)
    return (mask * columns).max(1).values
