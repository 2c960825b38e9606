"""Keeps rollouts to their thinking budget: writes tokens in the model's place, counts and flags them."""

import numpy as np

from train.rollout.interface import Sampling, Thinking
from train.rollout.schedule.rows import RowArrays

_NO_BUDGET = np.iinfo(np.int64).max  # tokens


class Steering:
    """Follows every rollout in and out of its thinking; see `Thinking` for the rules.

    `prompts` are by rollout: a prompt may open the thinking itself, as many chat templates do.
    """

    def __init__(self, sampling: Sampling, rows: RowArrays, prompts: dict[int, list[int]]) -> None:
        self._thinking = sampling.thinking
        if self._thinking is None:
            return
        count, width = rows.tokens.shape
        self._rows = rows
        self._stop = np.asarray(sampling.stop_ids, np.int64)
        self._open = np.zeros(count, bool)  # whether the rollout is thinking now
        self._count = np.zeros(count, np.int64)  # tokens of thinking so far
        self._extended = np.zeros(count, np.int64)
        self._closed = np.zeros(count, bool)  # whether the budget closed it
        self._forced = np.zeros((count, width), bool)
        self._budgets: np.ndarray | None = None  # by rollout, where they differ
        if self._thinking.budget is not None:
            self._budgets = np.full(count, self._thinking.budget, np.int64)
        self._queue: dict[int, list[int]] = {}  # tokens still to be written, by rollout
        self._closing: set[int] = set()  # rollouts whose queue holds the closing tokens
        for row, prompt in prompts.items():
            self._open[row] = thinks_at_end(prompt, self._thinking)

    def begin(self, row: int, prompt: list[int], budget: int | None) -> None:
        """Make `row` a new rollout of `prompt` with its own budget."""
        if self._thinking is None:
            return
        if self._budgets is None:
            self._budgets = np.full(len(self._open), _NO_BUDGET, np.int64)
        self._budgets[row] = _NO_BUDGET if budget is None else budget
        self._open[row] = thinks_at_end(prompt, self._thinking)
        self._count[row] = self._extended[row] = 0
        self._closed[row] = self._forced[row] = False
        self._queue.pop(row, None)
        self._closing.discard(row)

    def steer(self, rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """The tokens that `rows` continue with, after the model has `drawn` some."""
        thinking = self._thinking
        if thinking is None:
            return drawn
        tokens = drawn.copy()
        self._extend(rows, tokens, thinking)
        self._close(rows, tokens, thinking)
        for position, row in enumerate(rows.tolist() if self._queue else []):
            if row in self._queue:
                tokens[position] = self._queue[row].pop(0)
                self._forced[row, self._rows.drawn[row]] = True
                if not self._queue[row]:
                    del self._queue[row]
                    self._closing.discard(row)
        self._open[rows[tokens == thinking.close_id]] = False
        counted = self._open[rows] & ~np.isin(tokens, self._stop)
        self._count[rows[counted]] += 1
        self._open[rows[tokens == thinking.open_id]] = True
        return tokens

    def _extend(self, rows: np.ndarray, tokens: np.ndarray, thinking: Thinking) -> None:
        """Queue the waiting tokens for rows that would close, or stop, before the minimum."""
        if not thinking.extensions:
            return
        closing = (tokens == thinking.close_id) | np.isin(tokens, self._stop)
        early = closing & self._open[rows] & (self._count[rows] < thinking.minimum)
        for row in rows[early & (self._extended[rows] < thinking.extensions)].tolist():
            if row not in self._queue:
                self._queue[row] = list(thinking.wait_ids)
                self._extended[row] += 1

    def _close(self, rows: np.ndarray, tokens: np.ndarray, thinking: Thinking) -> None:
        """Queue the closing tokens for rows that have used up their budget, unless the model is closing by itself."""
        if self._budgets is None:
            return
        spent = self._open[rows] & (self._count[rows] >= self._budgets[rows]) & (tokens != thinking.close_id)
        for row in rows[spent].tolist():
            if row not in self._closing:
                self._queue[row] = list(thinking.closing_ids)
                self._closing.add(row)
                self._closed[row] = True

    def is_thinking(self, row: int) -> bool:
        """Whether the thinking of `row` is open."""
        return self._thinking is not None and bool(self._open[row])

    def is_writing(self, row: int) -> bool:
        """Whether tokens wait to be written in `row`."""
        return self._thinking is not None and row in self._queue

    def was_closed(self, row: int) -> bool:
        """Whether the budget closed the thinking of `row`."""
        return self._thinking is not None and bool(self._closed[row])

    def thinking_tokens(self, row: int) -> int:
        """Tokens between the thinking tags of `row`."""
        return 0 if self._thinking is None else int(self._count[row])

    def forced(self, row: int) -> list[bool] | None:
        """Which tokens of `row` the engine wrote; None where it wrote none."""
        if self._thinking is None or not self._forced[row].any():
            return None
        return self._forced[row, : self._rows.drawn[row]].tolist()


def thinks_at_end(prompt: list[int], thinking: Thinking) -> bool:
    """Whether `prompt` leaves the thinking open: its last opening tag has no closing one behind it."""
    for token in reversed(prompt):
        if token == thinking.close_id:
            return False
        if token == thinking.open_id:
            return True
    return False
