"""`RolloutTrainer`: TRL's GRPOTrainer whose completions come from a rollout back end.

The engine samples from the trainer's own live weights, a whole group at once. TRL asks for completions in
`_generate_single_turn`. At each generation a few rollouts are compared with the loss's own forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation

from data.terminal import say
from train.distributed.sharding import WholeCopy, reshard
from train.loss.logprobs import at_once, loss_logprobs
from train.loss.masks import own_tokens
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine, check_deterministic
from train.rollout.interface import Rollout, Sampling, Thinking
from train.rollout.parity import gate as parity
from train.rollout.schedule.lengths import LengthMemory
from train.sample_numbers import SampleNumbers

PARITY_ROLLOUTS = 4  # compared with the loss's own forward at every generation; a forward of so few is next to free


class RolloutTrainer(GRPOTrainer):
    """How completions are sampled; `trainer.py` decides which prompts and what the loss makes of them."""

    def set_up_rollouts(
        self,
        backend: str,
        cache_gib: float | None,
        max_rows: int | None,
        thinking: Thinking | None,
        *,
        deterministic: bool,
    ) -> None:
        """Choose how to sample. Raises ValueError for a model that cannot be sampled as asked."""
        self.backend = backend
        self.cache_gib = cache_gib
        self.max_rows = max_rows
        self.thinking = thinking
        self.deterministic_rollouts = deterministic
        self.engine: RolloutEngine | None = None
        self.whole_copy: WholeCopy | None = None
        if self.is_fsdp_enabled and not self.args.use_vllm:
            self.whole_copy = WholeCopy(self.model, self.accelerator)
        if deterministic and self.whole_copy is None:
            with self.accelerator.autocast():
                check_deterministic(self.model)
        self.lengths = LengthMemory()
        # Completions that TRL will ask for, and their log-probabilities.
        self._next_completions: tuple[list[list[int]], list[list[float]] | None] | None = None
        self._forced: list[list[bool] | None] = []  # of these completions, or of those drawn last: see `Rollout`
        self.begin_batch()

    def begin_batch(self) -> None:
        """Number the samples of a new batch from 0."""
        self._draws = 0  # calls of the back end for the batch in hand
        self._numbers = SampleNumbers()  # of that batch

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        if any(images is not None for images in (*args[:1], kwargs.get("images"))):
            raise ValueError("a prompt holds images, but rollouts see text alone; leave them out.")
        if self._next_completions is not None:
            completions, self._next_completions = self._next_completions, None
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
        numbers = self._numbers.take(prompt_ids)
        # A sharded module computes in the type of its copy's weights, without autocast.
        with self.accelerator.autocast() if self.whole_copy is None else nullcontext():
            if self.engine is None or self.engine.model is not model:  # tried in the type that it will sample in
                self.engine = RolloutEngine(
                    model,
                    cache_gib=self.cache_gib,
                    max_rows=self.max_rows,
                    deterministic=self.deterministic_rollouts,
                    lengths=self.lengths,
                )
            before = self.engine.forward
            rollouts = self.engine.generate(
                prompts, samples, sampling, step=self.state.global_step, sample_numbers=numbers
            )
            self._check_parity(model, prompts, rollouts)
        if self.engine.forward is not None and self.engine.forward is not before and self.accelerator.is_main_process:
            say(f"Rollouts are decoded by {self.engine.forward.name}.")
        self.engine.make_room()
        return rollouts

    def _check_parity(self, model: torch.nn.Module, prompts: list[list[int]], rollouts: list[Rollout]) -> None:
        """Compare the engine's log-probabilities with the loss's own, and log the gap. Raises ParityError."""
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
