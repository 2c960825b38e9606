"""What the device knows of every rollout, so that a step can follow the last one before the host has seen it."""

from dataclasses import dataclass

import numpy as np
import torch

from train.rollout.interface import Thinking
from train.rollout.paged.transfer import upload

# Which queue of forced tokens a rollout is writing, as rows of `Rules.queues`.
NO_QUEUE, WAITING, CLOSING = 0, 1, 2


class RolloutState:
    """Tensors indexed by rollout number. The last entry, `scratch`, stands for rows that are padding: it has ended.

    Their storage outlives a `generate` call, because captured graphs point to it.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        def zeros() -> torch.Tensor:
            return torch.zeros(capacity + 1, dtype=torch.int64, device=device)

        self.capacity = capacity
        self.scratch = capacity
        self.device = device
        self.keys = zeros()  # of the counter-based generator
        self.limit = zeros()  # completion tokens allowed
        self.cached = zeros()  # tokens whose keys and values are in the pool
        self.drawn = zeros()  # completion tokens so far
        self.last = zeros()  # the newest token, which is not cached yet
        self.thought = zeros()  # tokens of thinking so far
        self.extended = zeros()  # times that the thinking was extended
        self.queue = zeros()  # NO_QUEUE, WAITING or CLOSING
        self.queue_at = zeros()  # tokens of that queue written already
        self.ended = torch.ones(capacity + 1, dtype=torch.bool, device=device)
        self.thinking = torch.zeros_like(self.ended)
        self.closed = torch.zeros_like(self.ended)  # whether the budget closed the thinking

    def start(self, prompt_lengths: np.ndarray, keys: np.ndarray, limit: int, thinking: np.ndarray) -> None:
        """Set up rollouts 0, 1, ... (each argument but `limit` by rollout), none of them with a token yet."""
        count = len(keys)
        for tensor in (self.drawn, self.last, self.thought, self.extended, self.queue, self.queue_at, self.closed):
            tensor.zero_()
        self.cached.zero_()
        self.cached[:count] = upload(prompt_lengths, self.device)
        self.keys[:count] = upload(keys, self.device)
        self.thinking[:count] = upload(thinking, self.device)
        self.limit.fill_(limit)
        self.ended.fill_(True)
        self.ended[:count] = False

    def begin(self, rows: np.ndarray, prompt_length: int, keys: np.ndarray, limit: int, thinking: bool) -> None:
        """Make `rows` (rows,) new rollouts of one prompt, whatever they were before."""
        at = upload(rows, self.device)
        for tensor in (self.drawn, self.last, self.thought, self.extended, self.queue, self.queue_at):
            tensor[at] = 0
        self.cached[at] = prompt_length
        self.keys[at] = upload(keys, self.device)
        self.limit[at] = limit
        self.thinking[at] = thinking
        self.closed[at] = self.ended[at] = False


@dataclass(slots=True)
class Rules:
    """When to stop and what to write in the model's stead: the token ids of a `Sampling`, on the device."""

    stop_ids: torch.Tensor  # (stop ids,)
    thinking: Thinking | None
    queues: torch.Tensor  # (3, longest) tokens of each queue, padded
    queue_lengths: torch.Tensor  # (3,)


def make_rules(stop_ids: tuple[int, ...], thinking: Thinking | None, device: torch.device) -> Rules:
    """The rules of a `Sampling`."""
    tokens = [(), thinking.wait_ids, thinking.closing_ids] if thinking is not None else [(), (), ()]
    queues = np.zeros((3, max(1, *map(len, tokens))), np.int64)
    for queue, ids in zip(queues, tokens, strict=True):
        queue[: len(ids)] = ids
    return Rules(
        stop_ids=upload(np.asarray(stop_ids, np.int64), device),
        thinking=thinking,
        queues=upload(queues, device),
        queue_lengths=upload(np.array([len(ids) for ids in tokens]), device),
    )
