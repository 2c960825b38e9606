"""A step whose loss or gradient is not finite is skipped: it would turn every weight into NaN.

It is counted, its batch is kept for inspection, and after several in a row the run stops and names a likely cause.
DeepSpeed updates the weights before the norm is known, so there the first such step stops the run.
"""

from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save_file

BATCHES_KEPT = 8  # of each process; the first ones tell the most

Batch = dict[str, Any]


class NonFiniteSteps(RuntimeError):
    """Too many steps in a row had no finite loss and gradient."""


class NonFiniteGuard:
    """Counts the steps that were skipped; `limit` of them in a row raise NonFiniteSteps."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.total = 0
        self.in_a_row = 0

    def state_dict(self) -> dict[str, int]:
        """The counts, for a checkpoint."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Count on from `state_dict`."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]

    def passed(self) -> None:
        """The step was finite, and the weights were updated."""
        self.in_a_row = 0

    def skipped(self, step: int, rank: int, batches: list[Batch], model: torch.nn.Module, *, loss: bool) -> None:
        """Step `step` was skipped; `loss` says whether its loss at least was finite. Raises NonFiniteSteps."""
        self.total += 1
        self.in_a_row += 1
        if self.total <= BATCHES_KEPT:
            self._keep(step, rank, batches)
        if self.in_a_row >= self.limit:
            raise NonFiniteSteps(
                f"Stopped at step {step}: the loss or the gradient was not finite in {self.in_a_row} steps in a row. "
                f"Likely cause: {likely_cause(batches, model, loss=loss)}. The batches are in {self.folder}."
            )

    def taken(self, step: int, rank: int, batches: list[Batch], *, loss: bool) -> NoReturn:
        """Raise NonFiniteSteps for a step that had spoilt the weights before it was known not to be finite."""
        self._keep(step, rank, batches)
        raise NonFiniteSteps(
            f"Stopped at step {step}: the loss or the gradient was not finite, and DeepSpeed had taken the step by the "
            f"time that this was known. Likely cause: {likely_cause(batches, None, loss=loss)}. The batches are in "
            f"{self.folder}; --resume goes on from the last checkpoint."
        )

    def _keep(self, step: int, rank: int, batches: list[Batch]) -> None:
        self.folder.mkdir(exist_ok=True)
        save_file(_joined(batches), self.folder / f"step-{step:06d}-rank{rank}.safetensors")


def scale_was_too_large(scaler: torch.amp.GradScaler | None) -> bool:
    """Whether gradients overflowed in fp16 because the loss was scaled up too far: the `scaler` skips such a step.

    It halves its scale then, from 65,536 on. Where a scale of 1 overflows too, it is the gradients themselves.
    """
    return scaler is not None and scaler.is_enabled() and scaler.get_scale() > 1


def likely_cause(batches: list[Batch], model: torch.nn.Module | None, *, loss: bool) -> str:
    """The first thing on the way from the weights to the gradient that is not finite, and what helps against it.

    Without a `model`, whose weights have been spoilt since, the weights are taken for finite.
    """
    weights = model.named_parameters() if model is not None else ()
    bad = next((name for name, weight in weights if not weight.isfinite().all()), None)
    if bad is not None:
        return f"the weights themselves are not finite, {bad} for one; go back to an earlier checkpoint"
    for key, what in (("advantages", "a reward"), ("old_per_token_logps", "a log-probability of the rollouts")):
        if any(batch.get(key) is not None and not batch[key].isfinite().all() for batch in batches):
            return f"{what} is not finite, though the weights are"
    if not loss:
        return "the loss overflowed, though rewards and log-probabilities are finite; lower learning_rate, or beta"
    return "the backward pass overflowed from a finite loss; lower learning_rate, or train in float32 (bf16: false)"


def _joined(batches: list[Batch]) -> dict[str, torch.Tensor]:
    """The slices of a generation batch as one, its tensors alone."""
    keys = [key for key, value in batches[0].items() if isinstance(value, torch.Tensor) and value.dim()]
    return {key: torch.cat([batch[key] for batch in batches]).contiguous() for key in keys}
