"""The state of every rollout of a run, as arrays indexed by rollout number, so that a step needs no Python loop."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from train.rollout.schedule.prefix import PrefixNode


@dataclass(slots=True, eq=False)
class Row:
    """One rollout while it is unfinished: the blocks that it alone writes, and whose prompt it continues."""

    index: int
    group: "Group"
    blocks: list[int] = field(default_factory=list)
    serial: int = -1  # order of first admission; preemption takes the youngest first


@dataclass(slots=True, eq=False)
class Group:
    """A distinct prompt, the rollouts that wait to start from it, and its computed state meanwhile.

    `path` are its shared full blocks. `tail` is the block of the tokens behind them, copied by each row that starts,
    and `logits` (1, vocab) are those of the last prompt token; both are unset until the prompt has been prefilled.
    """

    prompt: list[int]
    path: list[PrefixNode]
    pending: deque[int]
    expected: float | None = None  # completion tokens, from earlier rollouts of this prompt
    tail: int = -1
    logits: torch.Tensor | None = None


class RowArrays:
    """Arrays over all rollouts of a run. Host memory: the scheduler reads and writes them every step."""

    def __init__(self, count: int, max_new_tokens: int, max_blocks: int) -> None:
        self.cached = np.zeros(count, np.int64)  # tokens whose keys and values are in the pool
        self.own_start = np.zeros(count, np.int64)  # tokens of those in shared blocks
        self.table = np.zeros((count, max_blocks), np.int64)  # blocks in order of position: shared ones, then own
        self.block_count = np.zeros(count, np.int64)  # own ones
        self.keys = np.zeros(count, np.int64)  # of the counter-based generator
        self.drawn = np.zeros(count, np.int64)  # completion tokens so far
        self.last = np.zeros(count, np.int64)  # the newest token, whose keys and values are not cached yet
        self.tokens = np.zeros((count, max_new_tokens), np.int32)
        self.logprobs = np.zeros((count, max_new_tokens), np.float32)
        self.limit = np.full(count, max_new_tokens, np.int64)  # completion tokens allowed

    def clear(self, row: int, key: int, limit: int) -> None:
        """Make `row` a new rollout of at most `limit` tokens, with `key` for its random numbers."""
        self.cached[row] = self.own_start[row] = self.block_count[row] = self.drawn[row] = self.last[row] = 0
        self.keys[row], self.limit[row] = key, limit

    def append(self, rows: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        """Add one token to each of `rows`."""
        at = self.drawn[rows]
        self.tokens[rows, at] = tokens
        self.logprobs[rows, at] = logprobs
        self.last[rows] = tokens
        self.drawn[rows] = at + 1

    def completion(self, row: int) -> list[int]:
        """The tokens drawn for `row` so far."""
        return self.tokens[row, : self.drawn[row]].tolist()
