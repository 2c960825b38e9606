"""Expert iteration: sample, keep what the verifier accepts, imitate it, repeat (`method: rft`).

Known as rejection-sampling fine-tuning (Yuan et al. 2023, arXiv 2308.01825), STaR (Zelikman et al. 2022, arXiv
2203.14465) or expert iteration (Anthony et al. 2017, arXiv 1705.08439). It is the plainest method that learns from
checked answers, and the control that RL has to beat at equal compute.

Each step samples a batch as GRPO does, with the same engine, tasks and resume; then the accepted completions alone are
trained on, by the mean cross-entropy of their tokens. Nothing pushes away from what was rejected.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

# What makes TRL's loss the cross-entropy of the accepted tokens: a mean over all tokens of a step, nothing beside it.
OPTIONS: dict[str, Any] = {"loss_type": "dapo", "beta": 0.0, "scale_rewards": "none"}


def imitate_accepted(
    batch: dict[str, Any], accepted: Sequence[bool], total: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """The batch with a loss whose gradient is that of supervised training on the accepted completions alone.

    With an advantage of 1 and no earlier log-probabilities to compare with, the ratio in GRPO's loss is 1 and its
    gradient is that of the log-probability, however often the batch is passed over.

    Args:
        batch: what TRL's trainer made of a generation batch; `completion_mask` is (rows, tokens).
        accepted: for each row, whether the verifier accepted it.
        total: sums a number over all processes.
    """
    keeps = torch.tensor(accepted, dtype=torch.bool, device=batch["completion_mask"].device)  # (rows,)
    mask = batch["completion_mask"] * keeps.unsqueeze(1)  # (rows, tokens)
    inputs = {name: value for name, value in batch.items() if name != "old_per_token_logps"}
    return inputs | {
        "advantages": keeps.to(batch["advantages"].dtype),
        "completion_mask": mask,
        "num_items_in_batch": total(mask.sum()),
    }
