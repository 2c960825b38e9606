"""`ReasoningTrainer`: TRL's GRPOTrainer with our rollouts in it.

Losses, advantages, optimisation, DDP, DeepSpeed, PEFT and logging are TRL's. Two things differ: completions come from
a rollout back end that samples a whole group at once, and each micro-batch sheds what adds nothing to the loss.
Pinned to trl 1.16; `tests/train/test_trl_seams.py` checks the signatures that are relied on here.
"""

from itertools import groupby
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from train.microbatch import HUSHABLE_LOSSES, hush_silent_rows, sort_rows, trim_padding
from train.rollout.generate import GenerateBackend
from train.rollout.interface import RolloutBackend, Sampling


class ReasoningTrainer(GRPOTrainer):
    """GRPO on checkable problems. Built like a GRPOTrainer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Completions are recorded with their verdicts in rollouts.parquet; `_logs` would keep them all in memory too.
        self.log_completions = False

    def make_backend(self, model: torch.nn.Module) -> RolloutBackend:
        """The back end that samples from `model`, the very module being trained."""
        return GenerateBackend(model, self.processing_class.pad_token_id)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        # TRL hands over each prompt once per sample, the copies side by side: sample each group as one.
        groups = [(list(ids), len(list(copies))) for ids, copies in groupby(prompt_ids)]
        sizes = {size for _, size in groups}
        if len(sizes) > 1:  # two neighbouring problems with the same prompt, or groups cut by a batch border
            groups, sizes = [(list(ids), 1) for ids in prompt_ids], {1}
        sampling = Sampling(
            max_new_tokens=self.max_completion_length,
            stop_ids=tuple(self.eos_token_ids),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p or 0.0,
            seed=self.args.seed + self.state.global_step,
        )
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            rollouts = self.make_backend(model).generate([ids for ids, _ in groups], sizes.pop(), sampling)
        return [rollout.token_ids for rollout in rollouts], None

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # TRL's own, but that a fresh batch is sorted by length where TRL shuffles it. All slices of a batch go into
        # one update unless it is reused, and then a sorted order would bias the single updates: TRL's shuffle stays.
        one_update = self.args.steps_per_generation == self.args.gradient_accumulation_steps
        if not (self.model.training and one_update and self.num_iterations == 1):
            return super()._prepare_inputs(generation_batch)
        slices = self.args.steps_per_generation
        if self._step % slices == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            if self.beta == 0 and not self._entropy_bonus_enabled and self.loss_type in HUSHABLE_LOSSES:
                batch = hush_silent_rows(batch)
            self._buffered_inputs = split_tensor_dict(sort_rows(batch), slices)
        return self._buffered_inputs[self._step % slices]

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        return super()._compute_loss(model, trim_padding(inputs))
