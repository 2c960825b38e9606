"""Thinking budgets on the device: the rules of `train/rollout/steering.py`, without a branch on a tensor.

The host's version is the reference: a property test holds this one to it, token by token.
"""

import torch

from train.rollout.interface import Thinking
from train.rollout.paged.state import CLOSING, NO_QUEUE, WAITING, RolloutState, Rules


def steer(
    state: RolloutState, rows: torch.Tensor, drawn: torch.Tensor, rules: Rules
) -> tuple[torch.Tensor, torch.Tensor]:
    """What rollouts `rows` (rows,) go on with, given what the model has `drawn` (rows,), and whether it was forced.

    Rollouts that have ended may stand in `rows`; what becomes of their state does not matter.
    """
    thinking = rules.thinking
    if thinking is None:
        return drawn, torch.zeros_like(drawn, dtype=torch.bool)
    queue, at = _queues(state, rows, drawn, rules, thinking)
    forced = queue != NO_QUEUE
    tokens = torch.where(forced, rules.queues[queue, at], drawn)
    at = at + forced
    finished = forced & (at >= rules.queue_lengths[queue])
    state.queue[rows] = queue.masked_fill(finished, NO_QUEUE)
    state.queue_at[rows] = at.masked_fill(finished, 0)

    is_open = state.thinking[rows] & (tokens != thinking.close_id)
    state.thought[rows] += is_open & ~is_stop(tokens, rules)
    state.thinking[rows] = is_open | (tokens == thinking.open_id)
    return tokens, forced


def _queues(
    state: RolloutState, rows: torch.Tensor, drawn: torch.Tensor, rules: Rules, thinking: Thinking
) -> tuple[torch.Tensor, torch.Tensor]:
    """The queue of each row and the place in it, after those that the drawn tokens start."""
    queue, at = state.queue[rows], state.queue_at[rows]
    is_open, thought = state.thinking[rows], state.thought[rows]
    closes = drawn == thinking.close_id
    if thinking.extensions:
        early = (closes | is_stop(drawn, rules)) & is_open & (thought < thinking.minimum)
        extend = early & (state.extended[rows] < thinking.extensions) & (queue == NO_QUEUE)
        queue = queue.masked_fill(extend, WAITING)
        state.extended[rows] += extend
    if thinking.budget is not None:
        spent = is_open & (thought >= thinking.budget) & ~closes & (queue != CLOSING)
        queue, at = queue.masked_fill(spent, CLOSING), at.masked_fill(spent, 0)
        state.closed[rows] |= spent
    return queue, at


def is_stop(tokens: torch.Tensor, rules: Rules) -> torch.Tensor:
    """(rows,) whether each token is a stop token; by comparison, since `torch.isin` may sort, and then waits."""
    return (tokens[:, None] == rules.stop_ids).any(-1)
