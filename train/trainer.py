"""`ReasoningTrainer`: TRL's GRPOTrainer with our rollouts, and without work that adds nothing to the loss.

Losses, advantages, optimisation, DDP, DeepSpeed, PEFT and logging are TRL's. `rollout_trainer.py` samples. This
file chooses a batch (dynamic sampling), orders and trims its rows, and drops an update that is not finite.
Pinned to trl 1.16; `tests/train/test_trl_seams.py` checks the signatures that are relied on here.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from train.config.qlora import keep_adapters_precise
from train.config.trainer_options import check_rollouts, check_trainer
from train.dynamic_sampling import DynamicSampling, Group
from train.expert_iteration import imitate_accepted
from train.lifecycle.nonfinite import NonFiniteGuard, scale_was_too_large
from train.lifecycle.resume import EpochSampler, ResumableTrainer
from train.loss.masks import MASKABLE_LOSSES, mask_zero_advantage_rows
from train.loss.microbatch import sort_rows, trim_padding
from train.loss.packed import PackedModel, check_packing
from train.loss.packed_attention import packed_attention_in
from train.loss.rollout_correction import correct_rollouts, effective_sample_size, share_of_sample
from train.model.dropout import disable_dropout
from train.model.positions import count_from_mask
from train.model.reference_adapter import exact_reference
from train.rollout.interface import Thinking
from train.rollout_trainer import RolloutTrainer


class ReasoningTrainer(ResumableTrainer, RolloutTrainer):
    """GRPO on checkable problems. Built like a GRPOTrainer; `backend` is `engine` or `generate`.

    `thinking` is a budget that the engine keeps to; what it writes in the model's stead is left out of the loss.
    `accepted` says which of the completions judged last are right. Where it is set, only these are imitated (expert
    iteration). `rollout_correction` weights the loss by how far the engine's probabilities are from its own.
    `packed_loss` computes it over rows side by side instead of padded ones, and `deterministic_rollouts` asks the
    engine for rollouts that do not depend on their batch. Where `use_vllm` is set in the arguments, TRL's own vLLM path
    samples instead, and its correction is kept. Raises ValueError for an option that would have no effect
    (`config.trainer_options`).
    """

    def __init__(
        self,
        *args: Any,
        backend: str = "engine",
        cache_gib: float | None = None,
        max_rows: int | None = None,
        rollout_correction: str = "none",
        packed_loss: bool = False,
        deterministic_rollouts: bool = False,
        thinking: Thinking | None = None,
        nonfinite: NonFiniteGuard | None = None,
        dynamic_sampling: DynamicSampling | None = None,
        accepted: Callable[[], Sequence[bool]] | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = dict(zip(inspect.signature(GRPOTrainer.__init__).parameters, (self, *args), strict=False)) | kwargs
        check_trainer(arguments.get("args"), arguments.get("model"), arguments, thinking=thinking is not None)
        with exact_reference(arguments.get("model"), getattr(arguments.get("args"), "beta", 0.0)):
            super().__init__(*args, **kwargs)
        own = {"thinking": thinking, "rollout_correction": rollout_correction}
        check_rollouts(self.args, backend, {"cache_gib": cache_gib, "max_rows": max_rows, **own})
        keep_adapters_precise(self.model)
        if self.args.disable_dropout:
            disable_dropout(self.model)
        for each in (self.model, self.ref_model):
            if each is not None:
                count_from_mask(each)
        self.set_up_rollouts(backend, cache_gib, max_rows, thinking, deterministic=deterministic_rollouts)
        self.packed_loss = packed_loss
        if packed_loss:
            check_packing(self.model)
        self.nonfinite = nonfinite or NonFiniteGuard(Path(self.args.output_dir) / "nonfinite", limit=3)
        self.dynamic_sampling = dynamic_sampling
        self.accepted = accepted
        self._losses_finite = True
        self.rollout_correction = rollout_correction
        if rollout_correction != "none":
            correct_rollouts(self, rollout_correction)
        self._buffered_inputs: list[dict[str, Any]] | None

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        self.epoch_sampler = EpochSampler(super()._get_train_sampler(dataset))
        return self.epoch_sampler

    def progress(self) -> dict[str, Any]:
        """Adds to every trainer's: the place in the cycle, its remaining rollouts, and the lengths."""
        within_cycle = self._step % (self.args.steps_per_generation * self.num_iterations)
        rollouts = self._buffered_inputs if within_cycle else None
        return super().progress() | {
            "step": self._step,
            "rollouts": rollouts,
            "lengths": self.lengths.state_dict(),
            "nonfinite": self.nonfinite.state_dict(),
            "dynamic_sampling": self.dynamic_sampling.state_dict() if self.dynamic_sampling else None,
        }

    def take_up(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        super().take_up(progress)
        self._step, self._buffered_inputs = progress["step"], progress["rollouts"]
        self.lengths.load_state_dict(progress["lengths"])
        self.nonfinite.load_state_dict(progress["nonfinite"])
        if self.dynamic_sampling is not None:
            self.dynamic_sampling.load_state_dict(progress["dynamic_sampling"])

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.begin_batch()
        if self.dynamic_sampling is not None and self.model.training:
            inputs = self._fill_batch(self.dynamic_sampling, len(inputs))
        batch = super()._generate_and_score_completions(inputs)
        if self.rollout_correction != "none":
            sums = self.accelerator.reduce(effective_sample_size(batch), reduction="sum")
            mode = "train" if self.model.training else "eval"
            self._metrics[mode]["sampling/effective_sample_size"].append(share_of_sample(sums))
        elif not self.use_vllm and "sampling_per_token_logps" in batch:
            # What the loss compares with: whatever top_p, top_k or min_p kept from being drawn, the engine's
            # log-probabilities are under the whole distribution, as those of TRL's own forward would be.
            batch["old_per_token_logps"] = batch["sampling_per_token_logps"]
        if self.accepted is not None and self.model.training:
            batch = imitate_accepted(batch, self.accepted(), lambda count: self.accelerator.gather(count).sum())
        return batch

    def _fill_batch(self, dynamic_sampling: DynamicSampling, rows: int) -> list[dict[str, Any]]:
        """Replace TRL's problems by ones that dynamic sampling chose, and hand TRL their completions."""
        size = self.num_generations
        groups, left_out, metrics = dynamic_sampling.fill(self.state.global_step + 1, rows // size, size, self._draw)
        self.state.num_input_tokens_seen += left_out
        self._metrics["train"]["left_out_tokens"] = [float(dynamic_sampling.left_out_tokens)]
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
        logprobs = [row for group in groups for row in group.logprobs or []]
        self._next_completions = [ids for group in groups for ids in group.completions], logprobs or None
        self._forced = [row for group in groups for row in group.forced]
        examples = [self.train_dataset[group.problem] for group in groups]
        return [
            example | {"judged_rows": row}
            for example, group in zip(examples, groups, strict=True)
            for row in group.rows
        ]

    def _draw(self, problems: Sequence[int], first: int, count: int) -> list[Group]:
        """`count` samples more, after `first`, of each of the problems, which are numbered as in the training set."""
        prompts = [self.train_dataset[number]["prompt"] for number in problems]
        prompt_ids, images, fields = self._tokenize_prompts([prompt for prompt in prompts for _ in range(count)])
        completions, logprobs = self._generate_single_turn(prompt_ids, images, fields, count)
        places = [slice(at, at + count) for at in range(0, len(completions), count)]
        return [
            Group(
                number, len(prompt_ids[at.start]), completions[at], logprobs[at] if logprobs else None, self._forced[at]
            )
            for number, at in zip(problems, places, strict=True)
        ]

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # TRL's own, but that a fresh batch is sorted by length where TRL shuffles it. All slices of a batch go into
        # one update unless it is reused, and then a sorted order would bias the single updates: TRL's shuffle stays.
        one_update = self.args.steps_per_generation == self.args.gradient_accumulation_steps
        sorts = one_update and self.num_iterations == 1 and self._sums_over_rows and self.loss_type != "bnpo"
        if not (self.model.training and sorts):
            return super()._prepare_inputs(generation_batch)
        slices = self.args.steps_per_generation
        if self._step % slices == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            if self.beta == 0 and self.loss_type in MASKABLE_LOSSES:
                batch = mask_zero_advantage_rows(batch)
            # Packed, there is no padding to save, and neighbours share their prompt.
            self._buffered_inputs = split_tensor_dict(batch if self.packed_loss else sort_rows(batch), slices)
        return self._buffered_inputs[self._step % slices]

    @property
    def _sums_over_rows(self) -> bool:
        """Whether the loss is a sum over rows, so that it does not matter which of them share a micro-batch.

        The threshold of `top_entropy_quantile`, the bonus for entropy and the balance of experts are each taken over
        all unmasked tokens of a micro-batch: there a row acts on the others, even one without an advantage.
        """
        return self.top_entropy_quantile == 1 and not self._entropy_bonus_enabled and not self.aux_loss_enabled

    def _get_per_token_logps_and_entropies(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        whole = PackedModel(model) if self.packed_loss else model
        return super()._get_per_token_logps_and_entropies(whole, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's, with the attention of packed rows for a backward that computes layers again."""
        with packed_attention_in(self.model) if self.packed_loss else nullcontext():
            return super().training_step(*args, **kwargs)

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, trim_padding(inputs))
        # A micro-batch that is masked whole, on every process, has no entropy; TRL would average in a zero.
        if not self.accelerator.gather(inputs["completion_mask"].sum()).any():
            self._metrics["train" if self.model.training else "eval"]["entropy"].pop()
        self._losses_finite &= bool(loss.isfinite()) or not self.model.training
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm. Where it is not finite, the gradients are dropped, so that the optimiser changes nothing."""
        norm = super()._get_grad_norm(model, grad_norm)
        losses = torch.tensor(float(self._losses_finite), device=self.args.device)
        losses_finite = bool(self.accelerator.gather(losses).min())  # the norm is the same on every process already
        self._losses_finite = True
        if losses_finite and torch.as_tensor(norm).isfinite():
            self.nonfinite.passed()
        elif losses_finite and scale_was_too_large(self.accelerator.scaler):
            model.zero_grad(set_to_none=True)
        else:
            step, rank, batches = self.state.global_step + 1, self.args.process_index, self._buffered_inputs or []
            if self.is_deepspeed_enabled:  # whose engine steps within the backward pass: it is too late to skip
                self.nonfinite.taken(step, rank, batches, loss=losses_finite)
            model.zero_grad(set_to_none=True)
            self.nonfinite.skipped(step, rank, batches, self.model, loss=losses_finite)
        self._metrics["train"]["nonfinite_steps"] = [float(self.nonfinite.total)]
        return norm
