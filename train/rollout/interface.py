"""What every rollout back end takes and gives: `Sampling` in, `Rollout` out.

Nothing here knows about rewards, tasks or trl, so a back end can be read, tested and timed by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "budget"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    `temperature` 0 means greedy. `top_p`, `top_k` and `min_p` at their defaults leave the distribution whole, which
    is what training needs: a truncated distribution biases the importance ratio.
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; a rollout needs at least 1 token.")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; use 0 for greedy decoding or a positive number.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected a number in (0, 1], where 1 keeps every token.")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; expected 0 (keep every token) or a positive count.")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p is {self.min_p}; expected a number in [0, 1), where 0 keeps every token.")


@dataclass(slots=True)
class Rollout:
    """One sampled completion.

    `token_ids` ends with the stop token where `finish_reason` is "stop". `logprobs` holds, token by token, the
    log-probability under the temperature-scaled distribution the token was drawn from, or is None where the back
    end does not give them.
    """

    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[float] | None = None


class RolloutBackend(Protocol):
    """Samples completions from the model that is being trained or evaluated."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[Rollout]:
        """Draw `samples_per_prompt` completions of each prompt.

        Returns `len(prompts) * samples_per_prompt` rollouts, the samples of one prompt side by side, in the order of
        `prompts`. `on_finished(n)` is called as rollouts finish, with how many did, to drive a progress bar.
        """
        ...
