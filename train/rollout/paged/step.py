"""One decode step as a function over tensors of fixed shape and place: on CUDA this is what a graph captures.

Nothing here asks the device for a value, moves data between host and device, or has a shape that depends on data. All
that a step needs is on the device: `RolloutState`, and in `Batch` which rollouts run and where their pages are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from train.rollout.counter import uniforms
from train.rollout.interface import Sampling
from train.rollout.paged.attention import Kernel, PagedAttention, Sequences
from train.rollout.paged.pool import SCRATCH_PAGE, PagedPool
from train.rollout.paged.state import RolloutState, Rules
from train.rollout.paged.steering import is_stop, steer
from train.rollout.sampler import draw_tokens, workspace

# Bits of the third column of an output.
RUNNING, STOPPED, FORCED, CLOSED, FINITE = 1, 2, 4, 8, 16


@dataclass(slots=True)
class Batch:
    """The rows of a step, in storage that stays. Padding is the scratch rollout with a table of scratch pages."""

    rollouts: torch.Tensor  # (rows,) int64
    table: torch.Tensor  # (rows, pages) int32
    query_starts: torch.Tensor  # (rows + 1,) int32: 0, 1, 2, ...
    key_starts: torch.Tensor  # (rows + 1,) int32
    outputs: torch.Tensor  # (rows, 4) int32, see `draw`

    def first(self, rows: int, pages: int) -> "Batch":
        """The first `rows` rows and the first `pages` pages of each, in the same storage."""
        return Batch(
            self.rollouts[:rows],
            self.table[:rows, :pages],
            self.query_starts[: rows + 1],
            self.key_starts[: rows + 1],
            self.outputs[:rows],
        )


def decode(
    model: Callable[..., Any],
    pool: PagedPool,
    kernels: list[Kernel],
    state: RolloutState,
    batch: Batch,
    sampling: Sampling,
    rules: Rules,
) -> None:
    """Run the newest token of every row of `batch` through `model`, draw the next, and write it to `batch.outputs`.

    Rows that have ended, unknown to the host as yet, run along: they write to the scratch page and change nothing.
    """
    rollouts = batch.rollouts
    ended = state.ended[rollouts]
    positions = state.cached[rollouts]  # (rows,)
    page = positions // pool.page_tokens
    pages = batch.table.gather(1, page.clamp(max=batch.table.shape[1] - 1).unsqueeze(1)).squeeze(1)
    slots = (pages * pool.page_tokens + positions % pool.page_tokens).masked_fill(ended, SCRATCH_PAGE)
    lengths = (positions + 1).masked_fill(ended, 1).int()
    sequences = Sequences(batch.table, lengths, batch.query_starts, batch.key_starts)
    output = model(
        input_ids=state.last[rollouts].unsqueeze(0),
        position_ids=positions.unsqueeze(0),
        use_cache=False,
        rollout_pass=PagedAttention(pool, kernels, slots, sequences),
    )
    state.cached[rollouts] = positions + ~ended
    batch.outputs.copy_(draw(state, rollouts, output.logits[0], sampling, rules))


def draw(
    state: RolloutState, rollouts: torch.Tensor, logits: torch.Tensor, sampling: Sampling, rules: Rules
) -> torch.Tensor:
    """Draw the next token of `rollouts` (rows,) from `logits` (rows, vocab) and note it in `state`.

    Returns (rows, 4) int32: the token, the bits of its float32 log-probability, flags, and thinking tokens so far.
    """
    running = ~state.ended[rollouts]
    at = state.drawn[rollouts]
    sample = draw_tokens(logits, sampling, uniforms(state.keys[rollouts], at), workspace(logits))
    tokens, forced = steer(state, rollouts, sample.tokens, rules)
    stopped = is_stop(tokens, rules)
    state.last[rollouts] = torch.where(running, tokens, state.last[rollouts])
    state.drawn[rollouts] = at + running
    state.ended[rollouts] = ~running | stopped | (at + 1 >= state.limit[rollouts])
    flags = (
        running * RUNNING
        + stopped * STOPPED
        + forced * FORCED
        + state.closed[rollouts] * CLOSED
        + sample.finite * FINITE
    )
    logprobs = sample.logprobs(tokens).float().view(torch.int32)
    return torch.stack([tokens.int(), logprobs, flags.int(), state.thought[rollouts].int()], dim=1)


@dataclass(slots=True)
class Outputs:
    """What `draw` returned, on the host."""

    tokens: np.ndarray
    logprobs: np.ndarray
    flags: np.ndarray
    thinking_tokens: np.ndarray

    def has(self, flag: int) -> np.ndarray:
        """(rows,) whether a flag is set."""
        return (self.flags & flag) != 0

    def of(self, rows: np.ndarray) -> "Outputs":
        """Those of `rows`, a mask."""
        return Outputs(self.tokens[rows], self.logprobs[rows], self.flags[rows], self.thinking_tokens[rows])


def read_outputs(array: np.ndarray) -> Outputs:
    """Take the columns of `draw` apart."""
    logprobs = np.ascontiguousarray(array[:, 1]).view(np.float32)
    return Outputs(array[:, 0], logprobs, array[:, 2], array[:, 3])
