"""The end of a step, as one kernel: steering, stopping, and what the device knows of every rollout.

The rules of `paged/steering.py` and of `draw` in `paged/step.py`, row by row; a test holds this kernel to them.
"""

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded

if TYPE_CHECKING:
    from train.rollout.paged.state import RolloutState, Rules


@triton.jit
def _is_stop(token, stop_ids, stop_count):
    """Whether `token` (rows,) is one of the stop ids."""
    found = token != token
    for number in range(stop_count):
        found = found | (token == tl.load(stop_ids + number))
    return found


@triton.jit
def _steer(
    rollout, own, drawn, thinking, thought, closed, extended, queue, queue_at, queues, queue_lengths, stop_ids,
    stop_count, open_id, close_id, budget, minimum, extensions, QUEUE_WIDTH: tl.constexpr, BUDGET: tl.constexpr,
    EXTENDS: tl.constexpr,
):  # fmt: skip
    """`steer` of paged/steering.py for rows `own`: tokens, which were forced, thinking so far, whether closed."""
    is_open = tl.load(thinking + rollout, mask=own, other=0) != 0
    count = tl.load(thought + rollout, mask=own, other=0)
    line = tl.load(queue + rollout, mask=own, other=0)
    at = tl.load(queue_at + rollout, mask=own, other=0)
    was_closed = tl.load(closed + rollout, mask=own, other=0) != 0
    closes = drawn == close_id
    if EXTENDS:
        early = (closes | _is_stop(drawn, stop_ids, stop_count)) & is_open & (count < minimum)
        times = tl.load(extended + rollout, mask=own, other=0)
        extend = early & (times < extensions) & (line == 0)
        line = tl.where(extend, 1, line)  # WAITING
        tl.store(extended + rollout, times + extend.to(tl.int64), mask=own)
    if BUDGET:
        spent = is_open & (count >= budget) & (drawn != close_id) & (line != 2)
        line = tl.where(spent, 2, line)  # CLOSING
        at = tl.where(spent, 0, at)
        was_closed = was_closed | spent
        tl.store(closed + rollout, was_closed, mask=own)
    forced = line != 0
    token = tl.where(forced, tl.load(queues + line * QUEUE_WIDTH + at, mask=forced & own, other=0), drawn)
    at = at + forced.to(tl.int64)
    finished = forced & (at >= tl.load(queue_lengths + line, mask=own, other=0))
    tl.store(queue + rollout, tl.where(finished, 0, line), mask=own)
    tl.store(queue_at + rollout, tl.where(finished, 0, at), mask=own)
    is_open = is_open & (token != close_id)
    counts = is_open & (_is_stop(token, stop_ids, stop_count) == 0)
    count = count + counts.to(tl.int64)
    tl.store(thought + rollout, count, mask=own)
    tl.store(thinking + rollout, is_open | (token == open_id), mask=own)
    return token, forced, count, was_closed


@triton.jit
def advance_kernel(
    rollouts,
    drawn,
    logits,
    log_totals,
    finite,
    ended,
    drawn_count,
    limit,
    last,
    cached,
    thinking,
    thought,
    closed,
    extended,
    queue,
    queue_at,
    queues,
    queue_lengths,
    stop_ids,
    outputs,
    stop_count,
    open_id,
    close_id,
    budget,
    minimum,
    extensions,
    softcap,
    temperature,
    logit_stride,
    rows,
    scratch,
    QUEUE_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    THINKS: tl.constexpr,
    BUDGET: tl.constexpr,
    EXTENDS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALES: tl.constexpr,
    DECODES: tl.constexpr,
):
    """One program for BLOCK rows. DECODES where a token was cached in this step."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    own = row < rows
    rollout = tl.load(rollouts + row, mask=own, other=scratch)
    running = tl.load(ended + rollout, mask=own, other=1) == 0
    at = tl.load(drawn_count + rollout, mask=own, other=0)
    token = tl.load(drawn + row, mask=own, other=0)
    forced = row < 0
    was_closed = tl.load(closed + rollout, mask=own, other=0) != 0
    count = tl.load(thought + rollout, mask=own, other=0)
    if THINKS:
        token, forced, count, was_closed = _steer(
            rollout, own & running, token, thinking, thought, closed, extended, queue, queue_at, queues, queue_lengths,
            stop_ids, stop_count, open_id, close_id, budget, minimum, extensions, QUEUE_WIDTH, BUDGET, EXTENDS,
        )  # fmt: skip
    stopped = _is_stop(token, stop_ids, stop_count)
    tl.store(last + rollout, token, mask=own & running)
    tl.store(drawn_count + rollout, at + 1, mask=own & running)
    ends = stopped | (at + 1 >= tl.load(limit + rollout, mask=own, other=0))
    tl.store(ended + rollout, ends, mask=own & running)
    if DECODES:
        written = tl.load(cached + rollout, mask=own, other=0)
        tl.store(cached + rollout, written + 1, mask=own & running)
    logit = tl.load(logits + row.to(tl.int64) * logit_stride + token, mask=own, other=0.0).to(tl.float32)
    if SOFTCAP:
        logit = softcap * (2.0 / (1.0 + tl.exp(-2.0 * logit / softcap)) - 1.0)
    if SCALES:
        logit = tl.div_rn(logit, temperature)
    logprob = logit - tl.load(log_totals + row, mask=own, other=0.0)
    is_finite = tl.load(finite + row, mask=own, other=1) != 0
    flags = (
        running.to(tl.int32)
        + 2 * stopped.to(tl.int32)
        + 4 * forced.to(tl.int32)
        + 8 * was_closed.to(tl.int32)
        + 16 * is_finite.to(tl.int32)
    )
    tl.store(outputs + row * 4, token.to(tl.int32), mask=own)
    tl.store(outputs + row * 4 + 1, logprob.to(tl.int32, bitcast=True), mask=own)
    tl.store(outputs + row * 4 + 2, flags, mask=own)
    tl.store(outputs + row * 4 + 3, count.to(tl.int32), mask=own)


def advance(
    state: "RolloutState",
    rules: "Rules",
    rollouts: torch.Tensor,
    logits: torch.Tensor,
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    outputs: torch.Tensor,
    *,
    temperature: float,
    softcap: float | None = None,
    decodes: bool,
) -> None:
    """Go on with what `draw_on_device` has `drawn` for `rollouts` (rows,), and write `outputs` (rows, 4) int32.

    The columns are those of `draw` in paged/step.py. `decodes` says that the step cached a token of every row.
    Rollouts that have ended may stand in `rollouts`; nothing of theirs changes.
    """
    thinking, tokens = rules.thinking, drawn[0]
    budget = None if thinking is None else thinking.budget
    block = min(128, padded(len(rollouts)))
    advance_kernel[(-(-len(rollouts) // block),)](
        rollouts,
        tokens,
        logits,
        drawn[1],
        drawn[2],
        state.ended,
        state.drawn,
        state.limit,
        state.last,
        state.cached,
        state.thinking,
        state.thought,
        state.closed,
        state.extended,
        state.queue,
        state.queue_at,
        rules.queues,
        rules.queue_lengths,
        rules.stop_ids,
        outputs,
        len(rules.stop_ids),
        -1 if thinking is None else thinking.open_id,
        -1 if thinking is None else thinking.close_id,
        budget or 0,
        0 if thinking is None else thinking.minimum,
        0 if thinking is None else thinking.extensions,
        softcap or 0.0,
        temperature,
        logits.stride(0),
        len(rollouts),
        state.scratch,
        QUEUE_WIDTH=rules.queues.shape[1],
        BLOCK=block,
        THINKS=thinking is not None,
        BUDGET=budget is not None,
        EXTENDS=thinking is not None and thinking.extensions > 0,
        SOFTCAP=softcap is not None,
        SCALES=temperature not in (0.0, 1.0),
        DECODES=decodes,
        num_warps=4,
    )
