"""Rollouts drawn in pieces keep the engine's rules of thinking: a piece may end anywhere, the result is the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.rollout.backends.pieces import Pieces
from train.rollout.interface import Sampling, Thinking
from train.rollout.schedule.rows import RowArrays
from train.rollout.steering import Steering

STOP, OPEN, CLOSE = 1, 2, 3
BUDGET = Thinking(OPEN, CLOSE, budget=4, closing_ids=(8, CLOSE))
LONGER = Thinking(OPEN, CLOSE, budget=6, closing_ids=(CLOSE,), minimum=3, wait_ids=(9, 7), extensions=2)
COUNTED = Thinking(OPEN, CLOSE)


def token_by_token(prompt, script, sampling):
    """What the engine makes of a model that would draw `script[i]` as token i."""
    rows = RowArrays(1, sampling.max_new_tokens, 0)
    steering = Steering(sampling, rows, {0: prompt})
    row = np.array([0])
    while rows.drawn[0] < sampling.max_new_tokens:
        rows.append(row, steering.steer(row, np.array([script[rows.drawn[0]]])), np.zeros(1))
        if rows.last[0] == STOP:
            break
    return rows.completion(0), steering.thinking_tokens(0), steering.forced(0), steering.was_closed(0)


def in_pieces(prompt, script, sampling):
    """The same model, asked for pieces."""
    pieces = Pieces([prompt], sampling)
    while (piece := pieces.next(0)) is not None:
        drawn = []
        for token in script[len(piece.before) : len(piece.before) + piece.most]:
            drawn.append(token)
            if token in piece.stop_ids:
                break
        pieces.add(0, drawn, [-0.5] * len(drawn))
    return pieces.rollout(0)


# What a model would draw at a place where tokens are forced is never asked for in pieces, so a script may not depend on
# it: closing and stopping exactly there is what the engine alone can see.
@given(st.lists(st.sampled_from([4, 5, 6, OPEN]), min_size=20, max_size=20), st.booleans())
@pytest.mark.parametrize("thinking", [BUDGET, LONGER, COUNTED], ids=["budget", "longer", "counted"])
def test_pieces_give_what_steering_token_by_token_gives(thinking, script, opened):
    sampling = Sampling(max_new_tokens=20, stop_ids=(STOP,), thinking=thinking)
    prompt = [4, OPEN] if opened else [4]
    expected = token_by_token(prompt, script, sampling)
    rollout = in_pieces(prompt, script, sampling)
    assert (rollout.token_ids, rollout.thinking_tokens, rollout.forced) == expected[:3]


@pytest.mark.parametrize(
    ("thinking", "script", "tokens", "reason"),
    [
        (BUDGET, [4, 4, 4, 4, 4, 4, 5, STOP], [4, 4, 4, 4, 8, CLOSE, 5, STOP], "budget"),
        (BUDGET, [4, 4, 4, 4, CLOSE, 5, STOP], [4, 4, 4, 4, CLOSE, 5, STOP], "stop"),
        (BUDGET, [4, STOP], [4, STOP], "stop"),
        (LONGER, [4, CLOSE, 6, 6, CLOSE, 5, STOP], [4, 9, 7, 6, CLOSE, 5, STOP], "stop"),
        (COUNTED, [4, 4, CLOSE, 5, STOP], [4, 4, CLOSE, 5, STOP], "stop"),
    ],
)
def test_thinking_is_closed_and_extended_where_it_should_be(thinking, script, tokens, reason):
    rollout = in_pieces([4, OPEN], script, Sampling(max_new_tokens=12, stop_ids=(STOP,), thinking=thinking))
    assert (rollout.token_ids, rollout.finish_reason) == (tokens, reason)
    assert (rollout.logprobs is None) == (rollout.forced is not None)


def test_without_thinking_a_rollout_is_one_piece():
    sampling = Sampling(max_new_tokens=6, stop_ids=(STOP,))
    pieces = Pieces([[4]], sampling)
    piece = pieces.next(0)
    assert (piece.before, piece.most, piece.stop_ids) == ([], 6, (STOP,))
    pieces.add(0, [5, 5, STOP], [-1.0, -2.0, -0.5])
    assert pieces.next(0) is None
    assert (pieces.rollout(0).finish_reason, pieces.rollout(0).logprobs) == ("stop", [-1.0, -2.0, -0.5])
