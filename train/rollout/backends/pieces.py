"""Thinking budgets for a back end that cannot be steered token by token: each rollout is drawn in pieces.

A piece ends where `Steering` may have to write. Its tokens go behind the piece, and the next piece continues from
there. So the rules, the counts and the flags are the engine's own. Without a budget a rollout is one piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.rollout.interface import FinishReason, Rollout, Sampling
from train.rollout.schedule.rows import RowArrays
from train.rollout.steering import Steering

_NONE = -1  # stands for the draw that a forced token replaces


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece: at most `most` tokens after `before`, the completion so far, or up to one of `stop_ids`."""

    before: list[int]
    most: int
    stop_ids: tuple[int, ...]


class Pieces:
    """The rollouts of one call as they grow; `prompts` are by rollout."""

    def __init__(self, prompts: Sequence[list[int]], sampling: Sampling) -> None:
        self.sampling = sampling
        self.rows = RowArrays(len(prompts), sampling.max_new_tokens, 0)
        self.steering = Steering(sampling, self.rows, dict(enumerate(prompts)))

    def next(self, row: int) -> Piece | None:
        """The piece to draw now, or None where rollout `row` has ended."""
        if self._ended(row):
            return None
        most = self.sampling.max_new_tokens - int(self.rows.drawn[row])
        stop_ids = self.sampling.stop_ids
        thinking = self.sampling.thinking
        if thinking is not None and (thinking.budget is not None or thinking.extensions):
            if not self.steering.is_thinking(row):
                stop_ids = (*stop_ids, thinking.open_id)
            elif thinking.extensions:
                stop_ids = (*stop_ids, thinking.close_id)
            if thinking.budget is not None and self.steering.is_thinking(row):
                # One more than the rest of the budget, since the model may close its thinking just then by itself.
                most = min(most, max(0, thinking.budget - self.steering.thinking_tokens(row)) + 1)
        return Piece(self.rows.completion(row), most, stop_ids)

    def add(self, row: int, tokens: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """Add the tokens drawn for the last piece of `row`, up to where the steering writes another."""
        if logprobs is None:
            logprobs = [np.nan] * len(tokens)
        if self.sampling.thinking is None:
            self.rows.tokens[row, : len(tokens)] = tokens
            self.rows.logprobs[row, : len(tokens)] = logprobs
            self.rows.drawn[row] = len(tokens)
            self.rows.last[row] = tokens[-1]
            return
        for token, logprob in zip(tokens, logprobs, strict=True):
            written = self._write(row, token, logprob)
            if written != token or self.steering.is_writing(row):
                break
        while self.steering.is_writing(row) and not self._ended(row):
            self._write(row, _NONE, np.nan)

    def rollout(self, row: int) -> Rollout:
        """The ended rollout `row`. It has log-probabilities where each of its tokens has one."""
        token_ids = self.rows.completion(row)
        reason: FinishReason = "length"
        if token_ids[-1] in self.sampling.stop_ids:
            reason = "budget" if self.steering.was_closed(row) else "stop"
        logprobs = self.rows.logprobs[row, : len(token_ids)]
        return Rollout(
            token_ids,
            reason,
            None if np.isnan(logprobs).any() else logprobs.tolist(),
            self.steering.thinking_tokens(row),
            self.steering.forced(row),
        )

    def _write(self, row: int, token: int, logprob: float) -> int:
        """Let the steering decide on one drawn token; returns the token that is there now."""
        place = np.array([row])
        written = self.steering.steer(place, np.array([token]))
        if written[0] != token:
            logprob = np.nan  # it was not drawn, so its probability is unknown
        self.rows.append(place, written, np.array([logprob]))
        return int(written[0])

    def _ended(self, row: int) -> bool:
        count = self.rows.drawn[row]
        stopped = count > 0 and int(self.rows.last[row]) in self.sampling.stop_ids
        return stopped or bool(count >= self.sampling.max_new_tokens)
