"""Correction where the sampler and the loss give the same token different probabilities (`rollout_correction`).

Half-precision kernels round otherwise than the loss does, so a rollout is drawn from a policy that is not quite the one
that is trained. TRL corrects for that where vLLM samples; here the same terms of its loss serve the engine's rollouts.
Each token's loss is weighted by w = p_loss / p_sampler: cut off above (truncated importance sampling, Yao et al. 2025),
or set to 0 outside of the bounds (masked, as in IcePop). One more forward a generation batch gives p_loss.
"""

from typing import Any

import torch

# By what TRL calls them. Over tokens: the ratio of a whole sequence leaves any bounds as sequences grow long.
CORRECTIONS = {"tis": "token_truncate", "mis": "token_mask"}


def correct_rollouts(trainer: Any, correction: str) -> None:
    """Make TRL's loss treat the engine's log-probabilities as it treats vLLM's; `correction` is one of CORRECTIONS.

    Its bounds are `vllm_importance_sampling_clip_max` and `_clip_min`. TRL asks `use_vllm` alone whether to correct.
    After construction that starts no vLLM; completions come from `_generate_single_turn`, which the trainer overrides.
    """
    trainer.use_vllm = True
    trainer.vllm_mode = "engine"  # neither of TRL's, which would look for a vLLM
    trainer.vllm_importance_sampling_correction = True
    trainer.vllm_importance_sampling_mode = CORRECTIONS[correction]


def effective_sample_size(batch: dict[str, Any]) -> torch.Tensor:
    """(3,) of sums over the tokens of the loss: w, w squared and 1; see `share_of_sample`."""
    mask = batch["completion_mask"].bool()
    if "tool_mask" in batch:
        mask = mask & batch["tool_mask"].bool()
    gap = (batch["old_per_token_logps"] - batch["sampling_per_token_logps"])[mask].double()
    weights = gap[gap.isfinite()].exp()
    return torch.stack([weights.sum(), weights.square().sum(), torch.ones_like(weights).sum()])


def share_of_sample(sums: torch.Tensor) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2, as a share of the tokens: 1 where both sides agree."""
    total, squares, count = sums.tolist()
    return total**2 / (squares * count) if count and squares else 1.0
