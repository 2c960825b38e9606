"""Plain `model.generate` as a back end: slow, and the oracle that the engine is compared with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from train.rollout.interface import FinishReason, Rollout, Sampling
from train.rollout.module_state import base_model, evaluation_mode


class GenerateBackend:
    """Pads prompts on the left and runs them through transformers, `rows` rollouts at a time.

    It draws from torch's own generator, seeded by `sampling.seed`, so its samples change with the batch. Only the
    engine has thinking budgets; asking for one here raises ValueError. `with_logprobs` keeps every step's logits until
    the end to give log-probabilities: (steps, rows, vocabulary) floats of memory.
    """

    def __init__(self, model: Any, pad_token_id: int, rows: int = 256, *, with_logprobs: bool = False) -> None:
        self.model = model
        self.pad_token_id = pad_token_id
        self.rows = rows  # sequences decoded side by side
        self.with_logprobs = with_logprobs

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[Rollout]:
        """See `RolloutBackend.generate`."""
        if sampling.thinking is not None:
            raise ValueError("the `generate` back end cannot enforce a thinking budget; use RolloutEngine.")
        every = [prompt for prompt in prompts for _ in range(samples_per_prompt)]
        rollouts: list[Rollout] = []
        device = next(self.model.parameters()).device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), evaluation_mode(self.model), plain_generation(self.model):
            torch.manual_seed(sampling.seed)
            for start in range(0, len(every), self.rows):
                batch = self._generate(every[start : start + self.rows], sampling)
                rollouts += batch
                if on_finished is not None:
                    on_finished(len(batch))
        return rollouts

    def _generate(self, rows: Sequence[Sequence[int]], sampling: Sampling) -> list[Rollout]:
        width = max(len(row) for row in rows)
        device = next(self.model.parameters()).device
        padded = [[self.pad_token_id] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        greedy = sampling.temperature == 0
        drawing = (
            {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        )
        if sampling.min_p > 0 and not greedy:
            drawing["min_p"] = sampling.min_p
        output = self.model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=not greedy,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(sampling.stop_ids) or None,
            pad_token_id=self.pad_token_id,
            use_cache=True,
            return_dict_in_generate=True,
            output_logits=self.with_logprobs,
            **drawing,
        )
        completions = output.sequences[:, width:]  # (rows, steps)
        stops = set(sampling.stop_ids)
        if not self.with_logprobs:
            return [_cut(tokens, None, stops) for tokens in completions.tolist()]
        scale = 1.0 if greedy else sampling.temperature
        logprobs = torch.stack(
            [
                (logits.float() / scale).log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
                for logits, tokens in zip(output.logits, completions.T, strict=True)
            ],
            dim=1,
        )  # (rows, steps)
        return [_cut(*row, stops) for row in zip(completions.tolist(), logprobs.tolist(), strict=True)]


@contextmanager
def plain_generation(model: Any) -> Iterator[None]:
    """Use a generation configuration of defaults: a checkpoint's own would change the distribution.

    Many set a repetition penalty, suppressed tokens or beams, and `generate` takes from it whatever it is not given.
    """
    base = base_model(model)
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own


def _cut(tokens: list[int], logprobs: list[float] | None, stops: set[int]) -> Rollout:
    """The completion up to its first stop token; what follows is padding."""
    end = next((i + 1 for i, token in enumerate(tokens) if token in stops), None)
    reason: FinishReason = "length" if end is None else "stop"
    return Rollout(tokens[:end], reason, None if logprobs is None else logprobs[:end])
