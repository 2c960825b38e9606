"""The time that the scheduler takes to plan a step, for scripts/bench_planning.py: the forward is replaced."""

import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.paged.paged_steps import PagedRun
from train.rollout.paged.step import FINITE, RUNNING
from train.rollout.schedule.requests import Request


class NoForward:
    """Stands in for `Forward`: costs the device nothing."""

    name, gathers, as_is, bytes = "nothing", False, False, 0

    def fits(self, *which: Any) -> bool:
        """Always."""
        return True

    def refresh(self) -> None:
        """Nothing."""

    def fingerprint(self) -> int:
        """Of nothing."""
        return 0

    def why_not_capturable(self) -> str:
        """There is nothing to capture."""
        return "nothing runs"

    def decode(self, pool: Any, state: Any, batch: Any, sampling: Any, rules: Any) -> None:
        """Every row draws token 5."""
        batch.outputs.copy_(self.draw(state, batch.rollouts, None, sampling, rules))

    def prefill(self, pool: Any, tokens: Any, positions: Any, slots: Any, sequences: Any, last: Any) -> torch.Tensor:
        """Logits of nothing."""
        return torch.zeros(len(last), 8)

    def draw(self, state: Any, rollouts: Any, logits: Any, sampling: Any, rules: Any) -> torch.Tensor:
        """As `decode`."""
        outputs = torch.full((len(rollouts), 4), 5, dtype=torch.int32)
        running = state.drawn[rollouts] < state.limit[rollouts]
        state.drawn[rollouts] += 1
        outputs[:, 2] = running * RUNNING + FINITE
        return outputs


def measure(rows: int, samples: int, prompt: int, new_tokens: int, page_tokens: int) -> dict[str, Any]:
    """Times of the steps of one call of `rows` rollouts, in milliseconds."""
    size: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=8192, **size))
    engine = RolloutEngine(model, page_tokens=page_tokens, max_rows=rows, cache_gib=4.0)
    engine.forward = NoForward()
    lengths = [prompt + number % 16 for number in range(rows // samples)]  # rows start their pages at different steps
    prompts = [[3 + number % 50, *[5 + place % 50 for place in range(count)]] for number, count in enumerate(lengths)]
    run = PagedRun(engine, Request(prompts, samples, Sampling(new_tokens, ()), None, None, 0), page_tokens)
    times, batches = [], []
    while run.scheduler.has_work:
        start = time.process_time()
        run.step()
        times.append((time.process_time() - start) * 1e3)
        batches.append(len(run.scheduler.live))
    full = sorted(seconds for seconds, batch in zip(times, batches, strict=True) if batch == rows)
    return {
        "rows": rows,
        "steps": len(times),
        "full_batch_steps": len(full),
        "full_batch_median_ms": round(full[len(full) // 2], 3),
        "full_batch_p90_ms": round(full[len(full) * 9 // 10], 3),
        "mean_ms": round(sum(times) / len(times), 3),
    }
