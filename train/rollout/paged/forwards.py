"""How a step computes its logits, and draws from them: fused layers, compiled ones, or the module itself.

All serve the same decoder (decoder.py): a graph may capture `decode`, and of fused layers the prefill (prefill.py).
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from train.rollout.interface import Sampling
from train.rollout.paged.attention import Kernel, PagedAttention, Sequences, gathered_attention
from train.rollout.paged.fingerprint import fingerprint, structure, why_not_capturable
from train.rollout.paged.pool import PagedPool
from train.rollout.paged.state import RolloutState, Rules
from train.rollout.paged.step import Batch, decode, draw


class Forward(Protocol):
    """What the decoder runs."""

    name: str  # as it is said at the start
    gathers: bool  # whether attention copies whole rows of the table, so that their width matters
    as_is: bool  # whether the module's own code must run, without norms or layers put in the place of its own
    bytes: int  # that it holds beside the module

    def fits(self, model: torch.nn.Module, context: int, dtype: torch.dtype) -> bool:
        """Whether this serves `model` as it stands, up to `context` tokens, with values kept in `dtype`."""
        ...

    def refresh(self) -> None:
        """Take up the weights of now, before a call."""
        ...

    def fingerprint(self) -> Any:
        """Equal for two calls if a graph captured in one is right in the other."""
        ...

    def why_not_capturable(self) -> str | None:
        """Why no graph can be right, or None."""
        ...

    def decode(self, pool: PagedPool, state: RolloutState, batch: Batch, sampling: Sampling, rules: Rules) -> None:
        """One step of `batch`, as `decode` of step.py."""
        ...

    def prefill(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        """Run `tokens` (tokens,) of some prompts; the logits (last, vocab) at the places `last`."""
        ...

    def draw(
        self, state: RolloutState, rollouts: torch.Tensor, logits: torch.Tensor, sampling: Sampling, rules: Rules
    ) -> torch.Tensor:
        """As `draw` of step.py."""
        ...


class ModuleForward:
    """The module, with attention over pages in the place of its own.

    `reason` says why it is not the fused layers, where these were tried; another structure is worth another trial.
    """

    as_is = False

    def __init__(
        self, model: torch.nn.Module, kernels: list[Kernel], dtype: torch.dtype, reason: str | None = None
    ) -> None:
        self.model = model
        self.run: Callable[..., Any] = model  # what is called in the place of the model
        self.dtype = dtype
        self.reason = reason
        self.structure = structure(model) if reason else None
        self.kernels = kernels
        self.gathers = gathered_attention in kernels
        self.bytes = 0
        self.name = "the module's own layers" + (f" ({reason})" if reason else "")

    def fits(self, model: torch.nn.Module, context: int, dtype: torch.dtype) -> bool:
        """See `Forward`."""
        if self.model is not model or self.dtype != dtype:
            return False
        return self.reason is None or self.structure == structure(model)

    def refresh(self) -> None:
        """Nothing: the module's weights are the live ones."""

    def fingerprint(self) -> Any:
        """See `Forward`."""
        return fingerprint(self.model, next(self.model.parameters()).device.type)

    def why_not_capturable(self) -> str | None:
        """See `Forward`."""
        return why_not_capturable(self.model)

    def decode(self, pool: PagedPool, state: RolloutState, batch: Batch, sampling: Sampling, rules: Rules) -> None:
        """See `Forward`."""
        decode(self.run, pool, self.kernels, state, batch, sampling, rules)

    def prefill(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        """See `Forward`."""
        output = self.run(
            input_ids=tokens.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=last,
            rollout_pass=PagedAttention(pool, self.kernels, slots, sequences),
        )
        return output.logits[0]

    def draw(
        self, state: RolloutState, rollouts: torch.Tensor, logits: torch.Tensor, sampling: Sampling, rules: Rules
    ) -> torch.Tensor:
        """See `Forward`."""
        return draw(state, rollouts, logits, sampling, rules)
