"""What every rollout back end takes and gives: `Sampling` in, `Rollout` out.

Nothing here knows about rewards, tasks or trl, so a back end can be read, tested and timed by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "budget"]

LEAST_TEMPERATURE = 1e-5  # logits divided by less may leave float32, and differ from greedy decoding in nothing
TEMPERATURES = f"0 for greedy decoding, or a number of at least {LEAST_TEMPERATURE:g}"


@dataclass(frozen=True, slots=True)
class Thinking:
    """A budget of thinking tokens, enforced by token id (s1's budget forcing, arXiv 2501.19393).

    Thinking runs from `open_id`, in the prompt or in the completion, to `close_id`; the tokens between them are
    counted. At `budget` of them the engine writes `closing_ids`, which must hold `close_id`, in the model's stead;
    what stands in them before `close_id` is counted too. A model that would close, or stop, before `minimum` tokens
    has `wait_ids` written instead, at most `extensions` times. Every token so written is flagged in `Rollout.forced`.
    """

    open_id: int
    close_id: int
    budget: int | None = None
    closing_ids: tuple[int, ...] = ()
    minimum: int = 0
    wait_ids: tuple[int, ...] = ()
    extensions: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where the fields contradict one another."""
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"thinking budget is {self.budget}; expected 0 or more tokens, or None for no budget.")
        if self.budget is not None and self.close_id not in self.closing_ids:
            raise ValueError(f"closing_ids {self.closing_ids} lack close_id {self.close_id}: thinking would go on.")
        if self.budget is not None and self.minimum > self.budget:
            raise ValueError(f"thinking minimum {self.minimum} is above the budget {self.budget}.")
        if self.extensions and not self.wait_ids:
            raise ValueError(f"{self.extensions} extensions are asked for, but wait_ids is empty.")
        if self.close_id in self.wait_ids:
            raise ValueError(f"wait_ids {self.wait_ids} hold close_id {self.close_id}: waiting would end thinking.")


def is_temperature(value: float) -> bool:
    """Whether logits can be divided by it, or it is 0: greedy decoding."""
    return value == 0 or LEAST_TEMPERATURE <= value < math.inf


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
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; a rollout needs at least 1 token.")
        if not is_temperature(self.temperature):
            raise ValueError(f"temperature is {self.temperature}; expected {TEMPERATURES}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected a number in (0, 1], where 1 keeps every token.")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; expected 0 (keep every token) or a positive count.")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p is {self.min_p}; expected a number in [0, 1), where 0 keeps every token.")

    @property
    def truncates(self) -> bool:
        """Whether some tokens can never be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


@dataclass(slots=True)
class Rollout:
    """One sampled completion.

    `token_ids` ends with a stop token unless `finish_reason` is "length". "budget" is a completion that ended by
    itself after its thinking had been closed for it. `logprobs` holds, token by token, the log-probability under the
    temperature-scaled distribution over the whole vocabulary (at temperature 0: under temperature 1), or is None where
    the back end does not give them. `forced[i]` says that the engine, not the model, chose token i; None means that
    no token was forced. `thinking_tokens` counts the tokens between the thinking tags.
    """

    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[float] | None = None
    thinking_tokens: int = 0
    forced: list[bool] | None = None


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
