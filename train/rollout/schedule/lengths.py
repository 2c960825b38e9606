"""Remembers the length of each prompt's last completions: decides what starts first, and how many rows will fit.

The order of admission decides what shares a batch, and so the last bits of the logits: after a restart without this
memory, an engine samples the same tokens except for rounding. So a checkpoint keeps it.
"""

from collections.abc import Sequence
from typing import Any

import torch

from train.rollout.counter import problem_key

MOST = 100_000  # prompts remembered


class LengthMemory:
    """Mean completion lengths in tokens, by prompt, and of the last call."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}
        self._last: float | None = None

    def expected(self, prompt: Sequence[int]) -> float | None:
        """The mean completion length of `prompt` when it was last seen."""
        return self._means.get(problem_key(prompt))

    def typical(self, max_new_tokens: int) -> float:
        """The mean completion length of the last call; before the first, half of the allowed length."""
        return max_new_tokens / 2 if self._last is None else min(max_new_tokens, self._last)

    def remember(self, prompts: Sequence[Sequence[int]], samples: int, lengths: Sequence[int]) -> None:
        """Remember the `lengths` of `samples` completions of each prompt, side by side."""
        if len(self._means) > MOST:
            self._means.clear()
        self._last = sum(lengths) / len(lengths)
        for place, prompt in enumerate(prompts):
            own = lengths[place * samples : (place + 1) * samples]
            self._means[problem_key(prompt)] = sum(own) / samples

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as numbers and tensors."""
        keys = torch.tensor([key - 2**63 for key in self._means], dtype=torch.int64)  # (prompts,)
        return {
            "keys": keys,
            "means": torch.tensor(list(self._means.values()), dtype=torch.float64),
            "last": self._last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the content of `state_dict`."""
        keys = [key + 2**63 for key in state["keys"].tolist()]
        self._means = dict(zip(keys, state["means"].tolist(), strict=True))
        self._last = state["last"]
