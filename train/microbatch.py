"""Making the loss side cheap without changing it: micro-batches of like lengths, no padding, nothing that says nothing.

TRL pads a whole generation batch to its longest row and shuffles it into micro-batches, so most of what a micro-batch
computes is padding. And where every sample of a group got the same reward, the advantages are zero: with no
reference model these rows add exactly nothing to the loss or its gradient, however long they are.
"""

from collections.abc import Sequence
from typing import Any

import torch

Batch = dict[str, Any]

# Losses that divide by the rows of the micro-batch or by a count taken before; `bnpo` divides by the unmasked tokens
# of the micro-batch itself, which `hush_silent_rows` changes.
HUSHABLE_LOSSES = ("grpo", "dr_grpo", "dapo", "cispo")


def own_tokens(completions: Sequence[Sequence[int]], forced: Sequence[Sequence[bool] | None]) -> list[list[int]]:
    """1 for each token that the model chose, 0 for each that was `forced` upon it: TRL's `tool_mask`, row by row."""
    return [
        [1] * len(ids) if flags is None else [1 - flag for flag in flags]
        for ids, flags in zip(completions, forced, strict=True)
    ]


def hush_silent_rows(batch: Batch) -> Batch:
    """Mask out the completions of rows whose advantage is zero, so that trimming makes them next to free.

    The rows themselves stay: every process must gather the same number. Only for losses without a term that acts on
    such rows (no reference model, no entropy bonus, no balance of experts) or takes a threshold over them
    (`top_entropy_quantile`), and of the types in `HUSHABLE_LOSSES`.
    """
    speaks = (batch["advantages"] != 0).unsqueeze(1)  # (rows, 1)
    return batch | {"completion_mask": batch["completion_mask"] * speaks}


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
