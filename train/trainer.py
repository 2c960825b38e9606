"""`ReasoningTrainer`: TRL's GRPOTrainer with our rollouts in it.

Losses, advantages, optimisation, DDP, DeepSpeed, PEFT and logging are TRL's. Two things differ: completions come from
a rollout back end that samples a whole group at once, and each micro-batch sheds what adds nothing to the loss.
Pinned to trl 1.16; `tests/train/test_trl_seams.py` checks the signatures that are relied on here.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from data.terminal import say
from train.config.qlora import keep_adapters_precise
from train.config.trainer_options import check_rollouts, check_trainer
from train.distributed.sharding import WholeCopy, reshard
from train.dynamic_sampling import DynamicSampling, Group
from train.expert_iteration import imitate_accepted
from train.lifecycle.nonfinite import NonFiniteGuard, scale_was_too_large
from train.lifecycle.resume import EpochSampler, ResumableTrainer
from train.loss.logprobs import at_once, loss_logprobs
from train.loss.masks import MASKABLE_LOSSES, mask_zero_advantage_rows, own_tokens
from train.loss.microbatch import sort_rows, trim_padding
from train.loss.packed import PackedModel, check_packing
from train.loss.packed_attention import packed_attention_in
from train.loss.rollout_correction import correct_rollouts, effective_sample_size, share_of_sample
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine, check_deterministic
from train.rollout.interface import Rollout, Sampling, Thinking
from train.rollout.parity import gate as parity
from train.rollout.schedule.lengths import LengthMemory
from train.sample_numbers import SampleNumbers

PARITY_ROLLOUTS = 4  # compared with the loss's own forward at every generation; a forward of so few is next to free


class ReasoningTrainer(ResumableTrainer, GRPOTrainer):
    """GRPO on checkable problems. Built like a GRPOTrainer; `backend` is `engine` or `generate`.

    `thinking` is a budget that the engine keeps to; what it writes in the model's stead is left out of the loss.
    `accepted` says which of the completions judged last are right: given, these alone are imitated (expert iteration).
    `rollout_correction` weights the loss by how far the engine's probabilities are from its own. `packed_loss` computes
    it over rows side by side instead of padded ones, and `deterministic_rollouts` asks the engine for rollouts that do
    not depend on their batch.
    Where `use_vllm` is set in the arguments, TRL's own vLLM path samples instead, and its correction stands.
    Raises ValueError for an option that would have no effect (`config.trainer_options`).
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
        super().__init__(*args, **kwargs)
        own = {"thinking": thinking, "rollout_correction": rollout_correction}
        check_rollouts(self.args, backend, {"cache_gib": cache_gib, "max_rows": max_rows, **own})
        keep_adapters_precise(self.model)
        self.backend = backend
        self.cache_gib = cache_gib
        self.max_rows = max_rows
        self.thinking = thinking
        self.engine: RolloutEngine | None = None
        self.whole_copy: WholeCopy | None = None
        if self.is_fsdp_enabled and not self.args.use_vllm:
            self.whole_copy = WholeCopy(self.model, self.accelerator)
        self.deterministic_rollouts = deterministic_rollouts
        self.packed_loss = packed_loss
        if packed_loss:
            check_packing(self.model)
        if deterministic_rollouts and self.whole_copy is None:
            with self.accelerator.autocast():
                check_deterministic(self.model)
        self.lengths = LengthMemory()
        self.nonfinite = nonfinite or NonFiniteGuard(Path(self.args.output_dir) / "nonfinite", limit=3)
        self.dynamic_sampling = dynamic_sampling
        self.accepted = accepted
        self._drawn: tuple[list[list[int]], list[list[float]] | None] | None = None  # completions that TRL will ask for
        self._forced: list[list[bool] | None] = []  # of these completions, or of those drawn last: see `Rollout`
        self._draws = 0  # calls of the back end for the batch in hand
        self._numbers = SampleNumbers()  # of that batch
        self._losses_finite = True
        self.rollout_correction = rollout_correction
        if rollout_correction != "none":
            correct_rollouts(self, rollout_correction)
        self._buffered_inputs: list[dict[str, Any]] | None

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        self.epoch_sampler = EpochSampler(super()._get_train_sampler(dataset))
        return self.epoch_sampler

    def progress(self) -> dict[str, Any]:
        """Beside what every trainer keeps: the place in the cycle, the rollouts that it has left, and the lengths."""
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
        """Go on from what `progress` gave."""
        super().take_up(progress)
        self._step, self._buffered_inputs = progress["step"], progress["rollouts"]
        self.lengths.load_state_dict(progress["lengths"])
        self.nonfinite.load_state_dict(progress["nonfinite"])
        if self.dynamic_sampling is not None:
            self.dynamic_sampling.load_state_dict(progress["dynamic_sampling"])

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        if any(images is not None for images in (*args[:1], kwargs.get("images"))):
            raise ValueError("a prompt holds images, but rollouts see text alone; leave them out.")
        if self._drawn is not None:
            completions, self._drawn = self._drawn, None
            return completions
        if self.args.use_vllm:
            reshard(self.model_wrapped)  # where it is sharded, TRL asks every weight for its shards
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        with self._whole_model(prompt_ids[0]) as model:
            rollouts = self._sample(model, prompt_ids)
        self._forced = [rollout.forced for rollout in rollouts]
        if any(rollout.logprobs is None for rollout in rollouts):
            return [rollout.token_ids for rollout in rollouts], None
        return [rollout.token_ids for rollout in rollouts], [rollout.logprobs or [] for rollout in rollouts]

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        # TRL leaves out of the loss what an environment wrote into a completion; here the engine is one.
        prompt_ids, completion_ids, own, *rest = super()._generate(prompts)
        if self.thinking is not None:
            own = own_tokens(completion_ids, self._forced)
        return prompt_ids, completion_ids, own, *rest

    @contextmanager
    def _whole_model(self, prompt: list[int]) -> Iterator[torch.nn.Module]:
        """The model with all of its weights on this process; `prompt` is what a copy is tried with."""
        if self.whole_copy is not None:
            yield self.whole_copy.follow(self.model_wrapped, self.state.global_step, prompt)
            return
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            yield model

    def _sample(self, model: torch.nn.Module, prompt_ids: list[list[int]]) -> list[Rollout]:
        """One rollout for each prompt, which TRL repeats once per sample, the copies side by side."""
        groups = [(list(ids), len(list(copies))) for ids, copies in groupby(prompt_ids)]
        sizes = {size for _, size in groups}
        if len(sizes) > 1:  # neighbouring problems with the same prompt
            groups, sizes = [(list(ids), 1) for ids in prompt_ids], {1}
        prompts, samples = [ids for ids, _ in groups], sizes.pop()
        sampling = Sampling(
            max_new_tokens=self.max_completion_length,
            stop_ids=tuple(self.eos_token_ids),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p or 0.0,
            seed=self.args.seed,
            thinking=self.thinking,
        )
        if self.backend == "generate":
            # Its random stream knows neither step nor process nor what was drawn before, so the seed must.
            seed = hash((self.args.seed, self._step, self.accelerator.process_index, self._draws)) % 2**32
            self._draws += 1
            backend = GenerateBackend(model, self.processing_class.pad_token_id)
            return backend.generate(prompts, samples, replace(sampling, seed=seed))
        if self.engine is None or self.engine.model is not model:
            self.engine = RolloutEngine(
                model,
                cache_gib=self.cache_gib,
                max_rows=self.max_rows,
                deterministic=self.deterministic_rollouts,
                lengths=self.lengths,
            )
        before = self.engine.forward
        numbers = self._numbers.take(prompt_ids)
        # A sharded module computes in the type of its copy's weights, without autocast.
        with self.accelerator.autocast() if self.whole_copy is None else nullcontext():
            rollouts = self.engine.generate(
                prompts, samples, sampling, step=self.state.global_step, sample_numbers=numbers
            )
            self._check_parity(model, prompts, rollouts)
        if self.engine.forward is not None and self.engine.forward is not before and self.accelerator.is_main_process:
            say(f"Rollouts are decoded by {self.engine.forward.name}.")
        self.engine.make_room()
        return rollouts

    def _check_parity(self, model: torch.nn.Module, prompts: list[list[int]], rollouts: list[Rollout]) -> None:
        """Hold the engine's log-probabilities against the loss's own, and log the gap. Raises ParityError."""
        logprobs_of = loss_logprobs(self)
        if self.whole_copy is not None:
            logprobs_of = at_once(logprobs_of)
        cuda = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # dropout, if any, must not draw from the run's own stream
            report = parity.check(
                model,
                prompts,
                rollouts,
                temperature=self.temperature,
                logprobs_of=logprobs_of,
                bos_id=self.processing_class.bos_token_id,
                pad_id=self.processing_class.pad_token_id,
                most=PARITY_ROLLOUTS,
            )
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["logprob_gap/max"].append(report.largest)
        metrics["logprob_gap/mean"].append(report.mean)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._draws, self._numbers = 0, SampleNumbers()
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
        self._drawn = [ids for group in groups for ids in group.completions], logprobs or None
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
        """The norm, just before the optimiser steps, which without a gradient changes neither weights nor moments."""
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
