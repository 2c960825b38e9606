"""The rollout engine: schedule, run the model, draw - until every rollout has ended."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch

from train.rollout import native
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.dense.dense_steps import DenseRun
from train.rollout.dense.fused import FusedNorms
from train.rollout.dense.packed import packed_bytes, packed_linears
from train.rollout.dense.pool import LayerShape
from train.rollout.generation import RolloutStats, Room, Run
from train.rollout.interface import Rollout, Sampling
from train.rollout.limits import CHUNK_TOKENS, LARGE_POOL, MAX_ROWS, MAX_ROWS_ON_CUDA, Limits
from train.rollout.memory import LARGE_PACKED, keep_freed_memory, memory_budget, return_freed_memory
from train.rollout.module_state import engine_mode
from train.rollout.native.layers import NativeLayers
from train.rollout.paged.choose import choose_forward, still_fits
from train.rollout.paged.decoder import PagedDecoder
from train.rollout.paged.forwards import Forward
from train.rollout.paged.paged_steps import PagedRun
from train.rollout.paged.pool import FLASH_PAGE_TOKENS, PAGE_TOKENS
from train.rollout.parity.trial import PROMPT_TOKENS, TRIAL_CHUNK_TOKENS, TrialError, try_generate, try_out
from train.rollout.sampler import NonFiniteLogits
from train.rollout.schedule.lengths import LengthMemory
from train.rollout.schedule.requests import Request, check_request, vocabulary_size
from train.rollout.session import Session
from train.rollout.support import INSTEAD, UnsupportedModel, model_name, probe, refuse_adapters, text_config
from train.rollout.triton_kernels import runnable

TYPICAL_ANSWER = 512  # tokens that a session expects of a rollout until some have ended


class RolloutEngine:
    """Samples from `model` in place: no copy of the weights outlives a call, so nothing can go stale between two.

    `cache_gib` limits what the engine holds (None: half of the free memory): the key-value cache and, on a CPU, the
    logits and activations of a step, and packed copies of the weights where they are at most a third of it. `max_rows`
    limits the rollouts that run at once, and `chunk_tokens` the prompt tokens prefilled beside one decode step. Raises
    UnsupportedModel, by name, for a model that it cannot run: a short trial decides (parity/trial.py), which `trial`
    False leaves out for a model that has had it.

    On CUDA the cache is pages behind a block table, kept between calls together with the CUDA graphs that point into
    it, until `release`. Elsewhere it is made for each call, and dense, which is faster on a CPU. `page_tokens` asks for
    pages of that size on any device, `cuda_graphs=False` for eager steps, and `native_kernels=False` for torch's own
    operators on a CPU where the compiled ones (native/) would run. `own_kernels` says whether Triton's kernels and the
    fused layers run (None: on CUDA, where they can), `merge_adapters` whether LoRA is merged into their weights, and
    `deterministic` asks them for rollouts that are the same bit for bit whatever shares their batch. `compile_layers`
    says whether torch compiles the layers of families that are not fused (None: on CUDA, beside our kernels), and
    `fuse_layers=False` has none fused.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        cache_gib: float | None = None,
        max_rows: int | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        page_tokens: int | None = None,
        cuda_graphs: bool = True,
        native_kernels: bool = True,
        own_kernels: bool | None = None,
        merge_adapters: bool = True,
        deterministic: bool = False,
        compile_layers: bool | None = None,
        fuse_layers: bool = True,
        lengths: LengthMemory | None = None,
        trial: bool = True,
    ) -> None:
        device = next(model.parameters()).device
        if max_rows is None:
            max_rows = MAX_ROWS_ON_CUDA if device.type == "cuda" else MAX_ROWS
        if own_kernels is None:
            own_kernels = device.type == "cuda" and runnable(device)
        if deterministic and not own_kernels:
            raise ValueError(
                "deterministic rollouts need our Triton kernels, which do not run here: a GPU from Ampere on."
            )
        if compile_layers is None:
            compile_layers = own_kernels and device.type == "cuda"
        self.limits = Limits(
            cache_gib=cache_gib,
            max_rows=max_rows,
            chunk_tokens=chunk_tokens,
            page_tokens=page_tokens,
            cuda_graphs=cuda_graphs,
            own_kernels=own_kernels,
            merge_adapters=merge_adapters,
            deterministic=deterministic,
            compile_layers=compile_layers,
            fuse_layers=fuse_layers,
        )
        self.model = model
        self.pool_bytes = 0  # of the dense cache, and of what a step works in
        self.decoder: PagedDecoder | None = None
        self.forward: Forward | None = None  # what the decoder runs
        self.layers = self._probe()  # again at every call: autocast around a call changes what the layers keep
        self.vocabulary = vocabulary_size(model)
        self.native = native_kernels and device.type == "cpu" and native.available()
        self.fused: FusedNorms | NativeLayers | None = None
        if device.type == "cuda":
            self.fused = FusedNorms(model)
        elif self.native:
            self.fused = NativeLayers(model)
        self.stats = RolloutStats()
        self.lengths = lengths or LengthMemory()
        keep_freed_memory()
        if trial:
            self._try_out()

    def _try_out(self) -> None:
        """Raise UnsupportedModel where a short trial does not give what the model's own forward gives."""
        small = RolloutEngine(
            self.model,
            max_rows=len(PROMPT_TOKENS),
            chunk_tokens=TRIAL_CHUNK_TOKENS,
            page_tokens=self.limits.page_tokens,
            cuda_graphs=False,
            native_kernels=self.native,
            own_kernels=self.limits.own_kernels and next(self.model.parameters()).device.type == "cuda",
            compile_layers=False,  # windows are cut short here; compiled layers have a trial of their own
            trial=False,
        )
        try:
            try_out(self.model, small, self.vocabulary)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever comes of code that expects another attention function
            instead = "" if isinstance(error.__cause__, NonFiniteLogits) else f" {INSTEAD}"
            raise UnsupportedModel(
                f"The rollout engine cannot run {model_name(self.model)}: {str(error).rstrip('.')}.{instead}"
            ) from error
        finally:
            small.release()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
        *,
        problems: Sequence[int] | None = None,
        sample_numbers: Sequence[int] | None = None,
        step: int = 0,
        on_rollout: Callable[[int, Rollout], None] | None = None,
    ) -> list[Rollout]:
        """Draw `samples_per_prompt` completions of each prompt, in the order of `prompts` (see `RolloutBackend`).

        The random numbers of a rollout depend on `sampling.seed`, `step`, its problem and its sample number alone.
        `problems` gives each prompt's number; by default it is a hash of the prompt's tokens. A prompt that stands
        in `prompts` k times is prefilled once, and its later places go on with sample numbers where the earlier ended.
        `sample_numbers` gives them instead, one for each rollout: to draw just those that are missing.
        `on_rollout(place, rollout)` is called as soon as each rollout has ended, `on_finished(n)` after each step.
        """
        config = text_config(self.model)
        self.layers = self._probe()
        check_request(prompts, samples_per_prompt, sampling, config, self.vocabulary)
        if problems is not None and len(problems) != len(prompts):
            raise ValueError(f"{len(problems)} problem numbers were given for {len(prompts)} prompts.")
        if sample_numbers is not None and len(sample_numbers) != len(prompts) * samples_per_prompt:
            raise ValueError(
                f"{len(sample_numbers)} sample numbers were given for {len(prompts)} prompts x {samples_per_prompt}."
            )
        if not prompts:
            return []
        start = time.perf_counter()
        request = Request(prompts, samples_per_prompt, sampling, problems, sample_numbers, step)
        self._choose_forward(max(map(len, prompts)) + sampling.max_new_tokens)
        with engine_mode(self.model), self._laid_out():
            run = self._run(request)
            while run.scheduler.has_work:
                results = run.step()
                for place, rollout in results:
                    if on_rollout is not None:
                        on_rollout(place, rollout)
                if results and on_finished is not None:
                    on_finished(len(results))
        self.stats = run.stats
        self.stats.seconds = time.perf_counter() - start
        rollouts = [rollout for rollout in run.rollouts if rollout is not None]
        self.lengths.remember(prompts, samples_per_prompt, [len(rollout.token_ids) for rollout in rollouts])
        return rollouts

    @contextmanager
    def session(self, sampling: Sampling, *, longest: int, rows: int | None = None) -> Iterator[Session]:
        """A run that stays open: groups join and leave it between steps (see `Session`, whose thread must be this one).

        Of `sampling`, stop ids and thinking tags hold for every group. A prompt and its completion may have `longest`
        tokens together, and `rows` rollouts are there at once (default: `max_rows`). The weights must stand still
        meanwhile. Raises ValueError where the key-value cache cannot hold one rollout of `longest` tokens.
        """
        self.layers = self._probe()
        count = self.limits.max_rows if rows is None else min(rows, self.limits.max_rows)
        room = Room(count, longest, count * self.limits.chunk_tokens, min(longest / 2, TYPICAL_ANSWER))
        self._choose_forward(longest)
        with engine_mode(self.model), self._laid_out():
            whole = replace(sampling, max_new_tokens=longest)
            yield Session(self._run(Request((), 1, whole, None, None, 0), room), text_config(self.model))

    @contextmanager
    def _laid_out(self) -> Iterator[None]:
        """The model's layers in the form in which its device runs them fastest; the pool gets what memory is left."""
        device = next(self.model.parameters()).device
        with ExitStack() as stack:
            if self.fused is not None and not (self.forward is not None and self.forward.as_is):
                stack.enter_context(self.fused.applied())
            if device.type != "cuda":
                packed = packed_bytes(self.model)
                if packed > LARGE_PACKED:
                    return_freed_memory()
                self.pool_bytes = memory_budget(self.limits.cache_gib, device)
                if self.limits.page_tokens is None and packed <= self.pool_bytes / 3:
                    self.pool_bytes -= packed
                    stack.enter_context(packed_linears(self.model))
            yield

    def _probe(self) -> list[LayerShape]:
        return probe(self.model, paged=self._page_tokens() is not None)

    def _page_tokens(self) -> int | None:
        """Tokens of a page; None where the cache is dense."""
        if self.limits.page_tokens is None and next(self.model.parameters()).device.type == "cuda":
            return PAGE_TOKENS if self.limits.own_kernels else FLASH_PAGE_TOKENS
        return self.limits.page_tokens

    def _choose_forward(self, longest: int) -> None:
        """Decide how steps of sequences up to `longest` tokens are computed, where the cache is pages.

        Tried before anything of the module is replaced for the call.
        """
        page_tokens = self._page_tokens()
        if page_tokens is None:
            return
        if self.forward is not None and still_fits(self.forward, self.model, self.layers, longest, page_tokens):
            return
        self.release()  # before the new one is made: both together might not fit
        self.forward = choose_forward(self.model, self.layers, self.limits, longest, page_tokens)

    def _run(self, request: Request, room: Room | None = None) -> Run:
        page_tokens = self._page_tokens()
        if page_tokens is not None:
            return PagedRun(self, request, page_tokens, room)
        return DenseRun(
            self.model,
            self.layers,
            self.limits,
            self.lengths,
            request,
            self.pool_bytes,
            natively=self.native,
            room=room,
        )

    def make_room(self) -> None:
        """Drop a pool that takes more than a tenth of the device's memory, before the loss wants as much."""
        if self.decoder is None or self.decoder.device.type != "cuda":
            return
        if self.decoder.pool.bytes > LARGE_POOL * torch.cuda.mem_get_info(self.decoder.device)[1]:
            self.drop_pool()

    def drop_pool(self) -> None:
        """Give the pages and the graphs over them back to the device; the next call makes them anew."""
        if self.decoder is not None:
            self.decoder.graphs.forget()
            self.decoder = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def release(self) -> None:
        """Give back all that is kept on the device between calls, shadow weights too."""
        self.forward = None
        self.drop_pool()


def check_support(model: torch.nn.Module, backend: str = "engine", *, moves_to_gpu: bool = False) -> None:
    """Raise UnsupportedModel, a ValueError of one clear line, where `backend` would not sample `model` right.

    For `engine` a short trial decides, whose result must be that of a plain forward: about a hundred tokens. Call it
    with the model where it will run; where training moves it to a GPU later, `moves_to_gpu` has the trial keep its
    cache in pages, as it will there. `vllm` is given merged weights, so adapters that cannot be merged are refused;
    `generate` has a trial of its own.
    """
    if backend == "engine":
        moves = moves_to_gpu and next(model.parameters()).device.type == "cpu"  # quantised weights are there already
        RolloutEngine(model, page_tokens=PAGE_TOKENS if moves else None)
    elif backend == "vllm":
        refuse_adapters(model)
    else:
        _try_generate(model)


def _try_generate(model: torch.nn.Module) -> None:
    try:
        try_generate(model, GenerateBackend(model, 0, with_logprobs=True), vocabulary_size(model))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model raises that does not fit its own configuration
        reason = " ".join(str(error).split())
        kind = "" if isinstance(error, TrialError) else f" ({type(error).__name__})"
        raise UnsupportedModel(
            f"transformers' own `generate` cannot sample {model_name(model)}: {reason}{kind}."
        ) from error


def check_deterministic(model: torch.nn.Module) -> None:
    """Raise ValueError where the rollouts of `model`, where it is now, would depend on what shares their batch."""
    RolloutEngine(model, deterministic=True, trial=False).generate([[0]], 1, Sampling(1, ()))
