"""The plain back end: transformers' own `generate`. Slow and simple, it is the oracle that others are held against."""

from collections.abc import Callable, Sequence

import torch
from transformers import GenerationConfig, PreTrainedModel

from train.rollout.interface import Rollout, Sampling


class GenerateBackend:
    """Samples with `model.generate`, every prompt left-padded to the longest. Gives no log-probabilities."""

    def __init__(self, model: PreTrainedModel, pad_token_id: int, rows: int = 256) -> None:
        self.model = model
        self.pad_token_id = pad_token_id
        self.rows = rows  # sequences decoded side by side

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[Rollout]:
        """See `RolloutBackend.generate`. Leaves the module in the mode, train or eval, that it was in."""
        rows = [list(prompt) for prompt in prompts for _ in range(samples_per_prompt)]
        was_training = self.model.training
        self.model.eval()
        rollouts: list[Rollout] = []
        try:
            for start in range(0, len(rows), self.rows):
                rollouts += self._generate(rows[start : start + self.rows], sampling)
                if on_finished:
                    on_finished(len(rollouts) - start)
        finally:
            self.model.train(was_training)
        return rollouts

    @torch.no_grad()
    def _generate(self, prompts: list[list[int]], sampling: Sampling) -> list[Rollout]:
        width = max(map(len, prompts))
        padded = [[self.pad_token_id] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        greedy = sampling.temperature == 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(sampling.stop_ids),
            pad_token_id=self.pad_token_id,
            do_sample=not greedy,
            **(
                {}
                if greedy
                else {
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": sampling.top_k,
                    "min_p": sampling.min_p or None,
                }
            ),
        )
        device = self.model.device
        output = self.model.generate(
            input_ids=torch.tensor(padded, device=device),  # (rows, width)
            attention_mask=torch.tensor(mask, device=device),  # (rows, width)
            generation_config=config,
        )
        return [self._rollout(row, sampling) for row in output[:, width:].tolist()]

    def _rollout(self, tokens: list[int], sampling: Sampling) -> Rollout:
        stop = next((i for i, token in enumerate(tokens) if token in sampling.stop_ids), None)
        if stop is None:
            return Rollout(tokens, "length")
        return Rollout(tokens[: stop + 1], "stop")
