"""The rollout engine: schedule, run the model, draw - until every rollout has ended."""

import time
from collections.abc import Callable, Sequence

import torch

from train.rollout.dense import DenseRun
from train.rollout.interface import Rollout, Sampling
from train.rollout.module_state import borrowed
from train.rollout.paged.decoder import PagedDecoder
from train.rollout.paged.pool import PAGE_TOKENS
from train.rollout.paged.run import PagedRun
from train.rollout.requests import check_request, vocabulary_size
from train.rollout.run import RolloutStats, Run
from train.rollout.support import probe, text_config

_LENGTHS_REMEMBERED = 100_000  # prompts whose last mean completion length is kept, to start the longest first


class RolloutEngine:
    """Samples from `model` in place: no copy of the weights, so nothing to synchronise between optimiser steps.

    `cache_gib` limits the key-value cache (None: half of the free memory), `max_rows` the rollouts that run at once,
    and `chunk_tokens` the prompt tokens prefilled beside one decode step. Raises UnsupportedModel, by name, for a model
    that it cannot run.

    On CUDA the cache is pages behind a block table, kept between calls together with the CUDA graphs that point into
    it, until `release`. Elsewhere it is made for each call, and dense, which is faster on a CPU. `page_tokens` asks for
    pages of that size on any device, and `cuda_graphs=False` for eager steps.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        cache_gib: float | None = None,
        max_rows: int = 256,
        chunk_tokens: int = 512,
        page_tokens: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        if max_rows < 1 or chunk_tokens < 1:
            raise ValueError(f"max_rows is {max_rows} and chunk_tokens is {chunk_tokens}; each must be at least 1.")
        self.model = model
        self.cache_gib = cache_gib
        self.max_rows = max_rows
        self.chunk_tokens = chunk_tokens
        self.page_tokens = page_tokens
        self.cuda_graphs = cuda_graphs
        self.decoder: PagedDecoder | None = None
        self.layers = probe(model)  # again at every call: autocast around a call changes what the layers keep
        self.vocabulary = vocabulary_size(model)
        self.stats = RolloutStats()
        self._lengths: dict[tuple[int, ...], float] = {}
        self._typical: float | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
        *,
        problems: Sequence[int] | None = None,
        step: int = 0,
        on_rollout: Callable[[int, Rollout], None] | None = None,
    ) -> list[Rollout]:
        """Draw `samples_per_prompt` completions of each prompt, in the order of `prompts` (see `RolloutBackend`).

        The random numbers of a rollout depend on `sampling.seed`, `step`, its problem and its sample number alone.
        `problems` gives each prompt's number; by default it is a hash of the prompt's tokens. A prompt that stands
        in `prompts` k times is prefilled once, and its later places go on with sample numbers where the earlier ended.
        `on_rollout(place, rollout)` is called as soon as each rollout has ended, `on_finished(n)` after each step.
        """
        config = text_config(self.model)
        self.layers = probe(self.model)
        check_request(prompts, samples_per_prompt, sampling, config, self.vocabulary)
        if problems is not None and len(problems) != len(prompts):
            raise ValueError(f"{len(problems)} problem numbers were given for {len(prompts)} prompts.")
        if not prompts:
            return []
        started = time.perf_counter()
        with borrowed(self.model):
            run = self._run(prompts, samples_per_prompt, sampling, problems, step)
            while run.scheduler.has_work:
                ended = run.step()
                for place, rollout in ended:
                    if on_rollout is not None:
                        on_rollout(place, rollout)
                if ended and on_finished is not None:
                    on_finished(len(ended))
        self.stats = run.stats
        self.stats.seconds = time.perf_counter() - started
        self._remember(prompts, samples_per_prompt, run.rollouts)
        return [rollout for rollout in run.rollouts if rollout is not None]

    def _run(
        self,
        prompts: Sequence[Sequence[int]],
        samples: int,
        sampling: Sampling,
        problems: Sequence[int] | None,
        step: int,
    ) -> Run:
        page_tokens = self.page_tokens
        if page_tokens is None and next(self.model.parameters()).device.type == "cuda":
            page_tokens = PAGE_TOKENS
        if page_tokens is None:
            return DenseRun(self, prompts, samples, sampling, problems, step)
        return PagedRun(self, prompts, samples, sampling, problems, step, page_tokens)

    def release(self) -> None:
        """Give back what is kept on the device between calls; the next call captures its graphs anew."""
        self.decoder = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def expected_length(self, prompt: tuple[int, ...]) -> float | None:
        """The mean completion length of `prompt` when it was last seen."""
        return self._lengths.get(prompt)

    def typical_length(self, max_new_tokens: int) -> float:
        """The mean completion length of the last call, before anything is known half of what is allowed."""
        return max_new_tokens / 2 if self._typical is None else min(max_new_tokens, self._typical)

    def _remember(self, prompts: Sequence[Sequence[int]], samples: int, rollouts: list[Rollout | None]) -> None:
        if len(self._lengths) > _LENGTHS_REMEMBERED:
            self._lengths.clear()
        lengths = [len(rollout.token_ids) for rollout in rollouts if rollout is not None]
        self._typical = sum(lengths) / len(lengths)
        for place, prompt in enumerate(prompts):
            own = lengths[place * samples : (place + 1) * samples]
            self._lengths[tuple(prompt)] = sum(own) / samples
