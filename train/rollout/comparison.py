"""How far apart two sides' log-probabilities of the same rollouts are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from train.rollout.interface import Rollout

LogprobFunction = Callable[[list[int], list[int]], torch.Tensor]
"""Prompt ids and completion ids -> log-probabilities (completion tokens,)."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Gaps between log-probabilities over `tokens` tokens; `worst` is (rollout, token) of the largest."""

    largest: float
    mean: float
    tokens: int
    worst: tuple[int, int]


def compare(
    prompts: Sequence[Sequence[int]], rollouts: Sequence[Rollout], logprobs_of: LogprobFunction, *, most: int = 8
) -> ParityReport:
    """Compare up to `most` rollouts, spread evenly over `rollouts`, with `logprobs_of(prompt, completion)`.

    `prompts` are those given to `generate`: the samples of one prompt stand side by side.
    """
    samples = len(rollouts) // len(prompts)
    chosen = range(0, len(rollouts), max(1, len(rollouts) // most))[:most]
    gaps = []
    for place in chosen:
        rollout = rollouts[place]
        if rollout.logprobs is None:
            raise ValueError(f"rollout {place} has no log-probabilities to compare.")
        expected = logprobs_of(list(prompts[place // samples]), rollout.token_ids)
        gaps.append((torch.tensor(rollout.logprobs) - expected).abs().nan_to_num(nan=torch.inf))
    largest = [float(gap.max()) for gap in gaps]
    worst = max(range(len(gaps)), key=largest.__getitem__)
    every = torch.cat(gaps)
    return ParityReport(largest[worst], float(every.mean()), len(every), (chosen[worst], int(gaps[worst].argmax())))
