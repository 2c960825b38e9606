"""Tokens equal to sampler.py's, and the end of a step equal to paged/step.py's, row by row."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from train.rollout.counter import uniforms
from train.rollout.interface import Sampling, Thinking
from train.rollout.paged.state import RolloutState, make_rules
from train.rollout.paged.step import FINITE, RUNNING, draw
from train.rollout.sampler import draw_tokens, workspace
from train.rollout.triton_kernels import sampling
from train.rollout.triton_kernels.advance import advance
from train.rollout.triton_kernels.sampling import draw_on_device

CPU = torch.device("cpu")


def keys_and_positions(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(-(2**62), 2**62, (rows,)), torch.randint(0, 2000, (rows,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("vocab, spread", [(120, 1.0), (1000, 4.0), (5001, 0.1)])
def test_tokens_are_the_samplers(vocab: int, spread: float, temperature: float, dtype: torch.dtype) -> None:
    rows = 6
    logits = (torch.randn(rows, vocab) * spread).to(dtype)
    logits[3] = 0
    logits[4, : vocab - 1] = float("-inf")
    keys, positions = keys_and_positions(rows)
    rollouts = torch.randperm(rows)
    own = draw_tokens(
        logits.float().clone(),
        Sampling(8, (1,), temperature=temperature),
        uniforms(keys[rollouts], positions[rollouts]),
        workspace(logits.float()),
    )
    tokens, log_totals, finite = draw_on_device(logits, rollouts, keys, positions, temperature=temperature)
    assert tokens.tolist() == own.tokens.tolist()
    torch.testing.assert_close(log_totals, own.log_total, rtol=1e-6, atol=1e-6)
    assert finite.all()


def test_at_1024_rows_of_152k_tokens_no_copy_of_the_logits_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoKernel:
        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **options: None

    class Made(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            self.bytes += output.nbytes
            return output

    monkeypatch.setattr(sampling, "block_sums_kernel", NoKernel())
    monkeypatch.setattr(sampling, "pick_kernel", NoKernel())
    logits = torch.empty(1024, 151_936, dtype=torch.bfloat16, device="meta")
    numbers = torch.empty(1024, dtype=torch.int64, device="meta")
    with Made() as made:
        draw_on_device(logits, numbers, numbers, numbers, temperature=0.7)
    assert 4 << 20 < made.bytes < 5 << 20  # of 297 MiB of logits; in float32 they would be 594


def test_capped_logits_are_drawn_from_as_capped() -> None:
    logits, (keys, positions) = torch.randn(6, 300) * 30, keys_and_positions(6)
    capped = 5 * (logits / 5).tanh()
    own = draw_tokens(capped.clone(), Sampling(8, ()), uniforms(keys, positions), workspace(capped))
    tokens, log_totals, _ = draw_on_device(logits, torch.arange(6), keys, positions, temperature=1.0, softcap=5.0)
    assert tokens.tolist() == own.tokens.tolist()
    torch.testing.assert_close(log_totals, own.log_total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_logits_that_are_not_finite_are_flagged(temperature: float) -> None:
    logits, (keys, positions) = torch.randn(4, 600), keys_and_positions(4)
    logits[1, 300], logits[2, 5], logits[3] = float("nan"), float("inf"), float("-inf")
    tokens, _, finite = draw_on_device(logits, torch.arange(4), keys, positions, temperature=temperature)
    assert finite.tolist() == [True, False, False, False]
    assert ((tokens >= 0) & (tokens < 600)).all()


def state_of(rows: int, keys: torch.Tensor) -> RolloutState:
    """Some rollouts in the middle of thinking, some ended."""
    generator = torch.Generator().manual_seed(rows)
    state = RolloutState(rows, CPU)
    state.keys[:rows] = keys
    state.limit[:rows] = torch.randint(1, 9, (rows,), generator=generator)
    state.ended[:rows] = torch.rand(rows, generator=generator) < 0.2
    state.thinking[:rows] = torch.rand(rows, generator=generator) < 0.6
    for name, most in (("drawn", 6), ("thought", 8), ("extended", 3), ("queue", 3), ("last", 9), ("cached", 50)):
        getattr(state, name)[:rows] = torch.randint(0, most, (rows,), generator=generator)
    return state


@pytest.mark.parametrize(
    ("thinking", "temperature"),
    [
        (None, 1.0),
        (None, 0.7),
        (Thinking(3, 4, budget=5, closing_ids=(6, 4)), 1.0),
        (Thinking(3, 4, minimum=6, wait_ids=(7, 8), extensions=2), 0.7),
        (Thinking(3, 4, budget=6, closing_ids=(4,), minimum=4, wait_ids=(7,), extensions=1), 1.0),
    ],
    ids=["plain", "plain, cooler", "budget", "extensions, cooler", "both"],
)
def test_the_end_of_a_step_is_steering_and_stopping(thinking: Thinking | None, temperature: float) -> None:
    rows, vocab = 24, 10
    sampling = Sampling(8, (1, 2), temperature=temperature, thinking=thinking)
    keys, _ = keys_and_positions(rows)
    one, other = state_of(rows, keys), state_of(rows, keys)
    rules = make_rules(sampling.stop_ids, thinking, CPU)
    rollouts = torch.cat([torch.randperm(rows), torch.full((3,), one.scratch)])  # padding at the end
    for _ in range(3):
        logits = torch.randn(len(rollouts), vocab)
        expected = draw(one, rollouts, logits.clone(), sampling, rules)
        drawn = draw_on_device(logits, rollouts, other.keys, other.drawn, temperature=temperature)
        drawn[2][5] = False
        outputs = torch.zeros(len(rollouts), 4, dtype=torch.int32)
        cached, running = other.cached.clone(), ~other.ended
        advance(other, rules, rollouts, logits, drawn, outputs, temperature=temperature, decodes=True)
        live = running[rollouts]
        expected[5, 2] &= ~FINITE
        assert torch.equal(outputs[live][:, [0, 2, 3]], expected[live][:, [0, 2, 3]])
        assert (outputs[:, 2] & RUNNING).tolist() == (expected[:, 2] & RUNNING).tolist()
        logprobs, own = (part[live][:, 1].contiguous().view(torch.float32) for part in (outputs, expected))
        torch.testing.assert_close(logprobs, own, rtol=1e-5, atol=1e-5)
        assert torch.equal(other.cached, cached + running.long())
        for name in ("drawn", "ended", "last"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("thinking", "thought", "extended", "queue", "queue_at", "closed"):
            assert torch.equal(getattr(one, name)[~one.ended], getattr(other, name)[~one.ended]), name
