"""Steering on the device follows the host's rules token by token."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.rollout.interface import Sampling, Thinking
from train.rollout.paged.state import RolloutState, make_rules
from train.rollout.paged.steering import steer
from train.rollout.schedule.rows import RowArrays
from train.rollout.steering import Steering

OPEN, CLOSE, STOP, WAIT, NEWLINE = 1, 2, 3, 4, 5
STEPS = 24

thinkings = st.builds(
    Thinking,
    open_id=st.just(OPEN),
    close_id=st.just(CLOSE),
    budget=st.one_of(st.none(), st.integers(4, 9)),
    closing_ids=st.sampled_from([(CLOSE,), (NEWLINE, CLOSE), (NEWLINE, CLOSE, NEWLINE)]),
    minimum=st.integers(0, 4),
    wait_ids=st.sampled_from([(WAIT,), (WAIT, NEWLINE)]),
    extensions=st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(thinkings, st.lists(st.lists(st.integers(0, 7), min_size=STEPS, max_size=STEPS), min_size=1, max_size=4))
def test_every_token_and_count_equals_the_hosts(thinking: Thinking, drawn: list[list[int]]) -> None:
    count = len(drawn)
    sampling = Sampling(max_new_tokens=STEPS, stop_ids=(STOP,), thinking=thinking)
    rows = RowArrays(count, STEPS, 1)
    opened = np.arange(count) % 2 == 0
    host = Steering(sampling, rows, {row: [OPEN] if opened[row] else [0] for row in range(count)})
    state = RolloutState(8, torch.device("cpu"))
    state.start(np.ones(count, np.int64), np.zeros(count, np.int64), STEPS, opened)
    rules = make_rules(sampling.stop_ids, thinking, state.device)
    everyone = np.arange(count)
    for step in range(STEPS):
        column = np.array([tokens[step] for tokens in drawn])
        expected = host.steer(everyone, column)
        padded = torch.tensor([*range(count), state.scratch])  # padding must not disturb anybody
        tokens, forced = steer(state, padded, torch.tensor([*column, step % 8]), rules)
        assert tokens[:count].tolist() == expected.tolist()
        rows.append(everyone, expected, np.zeros(count))
        for row in range(count):
            assert forced[row].item() == bool((host.forced(row) or [False] * STEPS)[step])
            assert state.thought[row].item() == host.thinking_tokens(row)
            assert state.closed[row].item() == host.was_closed(row)
