"""Micro-batches of similar lengths without padding, which makes the loss cheap without changing it.

TRL pads a whole generation batch to its longest row and shuffles it into micro-batches, so most of what a micro-batch
computes is padding.
"""

import torch

from train.loss.masks import Batch


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
    result = dict(batch)
    for key, value in batch.items():
        if key in ("prompt_ids", "prompt_mask"):
            result[key] = value[:, value.size(1) - prompt_width :]  # (rows, prompt_width)
        elif isinstance(value, torch.Tensor) and value.shape == shape:
            result[key] = value[:, :completion_width]  # (rows, completion_width)
    return result


def _lengths(mask: torch.Tensor) -> torch.Tensor:
    """One past the last unmasked column of each row, 0 where there is none, (rows,)."""
    columns = torch.arange(1, mask.size(1) + 1, device=mask.device)
    return (mask * columns).max(1).values
