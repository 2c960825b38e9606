"""Making the loss side cheap without changing it: micro-batches of like lengths, no padding, no rows that say nothing.

TRL pads a whole generation batch to its longest row and shuffles it into micro-batches, so most of what a micro-batch
computes is padding. And where every sample of a group got the same reward, the advantages are zero: with no
reference model these rows add exactly nothing to the loss or its gradient.
"""

from typing import Any

import torch

Batch = dict[str, Any]

# How each loss averages over rows decides what leaving rows out does to it. `mean` losses divide by the number of
# rows in the micro-batch; `fixed` ones by a count taken before.
MEAN_OVER_ROWS = ("grpo", "dr_grpo")
FIXED = ("dapo", "cispo")


def sort_rows(batch: Batch) -> Batch:
    """Order a generation batch so that its slices hold rows of like length, those without advantage last."""
    lengths = _lengths(batch["completion_mask"])  # (rows,)
    rows = lengths.size(0)
    silent = batch["advantages"] == 0  # (rows,)
    order = torch.argsort(silent.long() * (batch["completion_mask"].size(1) + 1) + lengths, stable=True)
    return {
        key: value[order] if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == rows else value
        for key, value in batch.items()
    }


def drop_silent_rows(batch: Batch, loss_type: str) -> tuple[Batch, float]:
    """Leave out the rows whose advantage is zero; returns the rest and what its loss must be multiplied by.

    At least one row stays, so that every process runs the same collectives. Only for losses without a term that
    acts on silent rows (no reference model, no entropy bonus), and of the types in `MEAN_OVER_ROWS` and `FIXED`.
    """
    advantages = batch["advantages"]  # (rows,)
    rows = advantages.size(0)
    keep = advantages != 0
    if not keep.any():
        keep[_lengths(batch["completion_mask"]).argmin()] = True
    kept = int(keep.sum())
    if kept == rows:
        return batch, 1.0
    left = {
        key: value[keep] if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == rows else value
        for key, value in batch.items()
    }
    return left, kept / rows if loss_type in MEAN_OVER_ROWS else 1.0


def trim_padding(batch: Batch) -> Batch:
    """Drop the columns that are padding in every row: left of the prompts, right of the completions."""
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
