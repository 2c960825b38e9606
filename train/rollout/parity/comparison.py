"""How far apart two sides' log-probabilities of the same rollouts are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from train.rollout.interface import Rollout

Tokens = Sequence[int]
LogprobFunction = Callable[[Sequence[Tokens], Sequence[Tokens]], list[torch.Tensor]]
"""Prompts and completions, row by row, as token ids -> log-probabilities (completion tokens,) of each row."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Gaps between log-probabilities over `tokens` tokens; `worst` is (rollout, token) of the largest."""

    largest: float
    mean: float
    tokens: int
    worst: tuple[int, int]


def choose(rollouts: int, most: int) -> list[int]:
    """The places of up to `most` rollouts, spread evenly over so many."""
    count = min(rollouts, most)
    return [number * rollouts // count for number in range(count)]


def compare(
    prompts: Sequence[Tokens], rollouts: Sequence[Rollout], logprobs_of: LogprobFunction, *, most: int = 8
) -> ParityReport:
    """Compare up to `most` rollouts, spread evenly over `rollouts`, with what `logprobs_of` gives in one call.

    `prompts` are those given to `generate`: the samples of one prompt are adjacent.
    """
    samples = len(rollouts) // len(prompts)
    places = choose(len(rollouts), most)
    completions = [rollouts[place].token_ids for place in places]
    expected = logprobs_of([prompts[place // samples] for place in places], completions)
    gaps = []
    for place, row in zip(places, expected, strict=True):
        logprobs = rollouts[place].logprobs
        if logprobs is None:
            raise ValueError(f"rollout {place} has no log-probabilities to compare.")
        gaps.append((torch.tensor(logprobs) - row).abs().nan_to_num(nan=torch.inf))
    largest = [float(gap.max()) for gap in gaps]
    worst = max(range(len(gaps)), key=largest.__getitem__)
    every = torch.cat(gaps)
    return ParityReport(largest[worst], float(every.mean()), len(every), (places[worst], int(gaps[worst].argmax())))
