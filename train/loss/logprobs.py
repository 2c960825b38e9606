"""Log-probabilities as TRL's loss computes them, so that the parity gate checks what is trained."""

from collections.abc import Sequence
from itertools import cycle

import torch
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from train.rollout.parity.comparison import LogprobFunction, Tokens


def loss_logprobs(trainer: GRPOTrainer) -> LogprobFunction:
    """TRL's own forward of a batch, padded and masked as TRL does it; the model stays in its mode.

    Where the weights are sharded it is a collective.
    """

    def of_all(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[torch.Tensor]:
        pad_id = trainer.processing_class.pad_token_id
        parts, masks = [], []
        for rows, side in ((prompts, "left"), (completions, "right")):
            ids = [torch.tensor(row) for row in rows]
            parts.append(pad(ids, padding_value=pad_id, padding_side=side))
            masks.append(pad([torch.ones_like(row) for row in ids], padding_value=0, padding_side=side))
        model, device = trainer.model, trainer.args.device
        with torch.no_grad(), disable_gradient_checkpointing(model, trainer.args.gradient_checkpointing_kwargs):
            logprobs, _, _ = trainer._get_per_token_logps_and_entropies(
                model,
                torch.cat(parts, 1).to(device),  # (rows, prompt + completion)
                torch.cat(masks, 1).to(device),
                parts[1].shape[1],
                batch_size=trainer.args.per_device_train_batch_size,
            )
        return [row[: len(ids)].float().cpu() for row, ids in zip(logprobs, completions, strict=True)]

    return of_all


def at_once(logprobs_of: LogprobFunction) -> LogprobFunction:
    """The same function, with two forwards in all: both in its first call.

    For sharded weights: a process that finds a gap looks for the cause alone and must not wait for the others.
    """
    forwards: list[cycle[list[torch.Tensor]]] = []

    def of_all(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[torch.Tensor]:
        if not forwards:
            forwards.append(cycle([logprobs_of(prompts, completions) for _ in range(2)]))
        return next(forwards[0])

    return of_all
