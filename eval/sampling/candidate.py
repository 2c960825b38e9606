"""A model under evaluation, whatever it is: a checkpoint of ours, a hub id, a LoRA adapter, or a server's URL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.problem import Problem
from eval.sampling.cache import Draw, OnRollout, Prompts, SampleCache, fingerprint
from eval.sampling.server import Server, is_url
from eval.sampling.source import Source
from eval.sampling.workers import Workers
from train.model.chat import TOKENIZERS_OWN, Chat
from train.model.chat_checks import check_chat, check_prompts, check_template
from train.model.context import check_context
from train.model.loading import load_model, load_tokenizer, merged_checkpoint
from train.model.prompts import stop_ids
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.backends.vllm import VLLMBackend, require_vllm
from train.rollout.counter import problem_key, row_key
from train.rollout.engine import RolloutEngine, check_support
from train.rollout.interface import Sampling
from train.rollout.support import context_length

SMALL = 20_000_000  # parameters; the products of a larger model keep several cores busy by themselves
MOST = 1_000_000_000  # parameters that stay in memory from one use to the next; the last model may go beyond
FEW = 64  # samples that are not worth starting processes for
ROWS = 256  # that `generate` decodes side by side, and so what it loses at most when it is cut off


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is ready to be asked. `parameters` and `context` (its longest sequence) are None behind a server."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]
    backend: SampleCache
    parameters: int | None = None
    context: int | None = None


class Candidates:
    """The models of one evaluation: each is loaded and hashed once, as far as they fit into memory together.

    The other arguments are those of `load_candidate`.
    """

    def __init__(self, cache: Path, **how: Any) -> None:
        self._cache, self._how = cache, how
        self._loaded: dict[str, Candidate] = {}

    def check(self, names: Sequence[str], fits: Callable[[Candidate], None] | None = None) -> None:
        """Raise ValueError where one of the models cannot be loaded, or where `fits` raises it of one.

        Of models that do not fit into memory with the others, only the files and the tokenizer are checked.
        """
        for name in dict.fromkeys(names):
            if self._room() > 0 or is_url(name):
                candidate = self.load(name)
                if fits is not None:
                    fits(candidate)
            else:
                load_tokenizer(self._how.get("tokenizer") or name, self._how.get("chat", TOKENIZERS_OWN))

    def load(self, name: str) -> Candidate:
        """The model called `name`; the one loaded first makes room where there is none. Raises ValueError."""
        if name not in self._loaded:
            while self._loaded and self._room() <= 0:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[name] = load_candidate(name, self._cache, **self._how)
        return self._loaded[name]

    def _room(self) -> int:
        return MOST - sum(candidate.parameters or 0 for candidate in self._loaded.values())


def load_candidate(
    name: str,
    cache: Path,
    *,
    backend: str = "engine",
    tokenizer: str | None = None,
    chat: Chat = TOKENIZERS_OWN,
    system_prompt: str = "",
    workers: Workers | None = None,
) -> Candidate:
    """Load the model called `name` with the chat settings `chat`; its samples are kept in the folder `cache`.

    `tokenizer` is needed for a server that serves under a name which is no model's. `workers` do the engine's work
    where the model is small. Raises ValueError (ModelError, ChatError, UnsupportedModel, ServerError) in one line where
    the model cannot be loaded, asked as its chat template says, with `system_prompt`, or sampled by `backend`.
    """
    if is_url(name):
        server = Server(name)
        model_tokenizer = load_tokenizer(tokenizer or server.root, chat)
        server.vocabulary = len(model_tokenizer)
        ends = (model_tokenizer.eos_token_id,)
        check_template(model_tokenizer, ends, system=bool(system_prompt))
        return Candidate(name, model_tokenizer, ends, SampleCache(server.draw, cache, server.fingerprint))
    model_tokenizer = load_tokenizer(tokenizer or name, chat)
    model = load_model(name)
    check_chat(model, model_tokenizer, system=bool(system_prompt))
    if backend == "vllm":
        check_support(model, backend)
        draw = _vllm(name, model)
    else:
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        check_support(model, backend)  # where it will run
        draw = _engine(model) if backend == "engine" else _generate(model, model_tokenizer.pad_token_id)
        if workers and workers.count > 1 and backend == "engine" and model.num_parameters() <= SMALL:
            draw = _spread(draw, partial(workers.draw, name))
    samples = SampleCache(draw, cache, fingerprint(model))
    return Candidate(
        name, model_tokenizer, stop_ids(model, model_tokenizer), samples, model.num_parameters(), context_length(model)
    )


def check_lengths(candidate: Candidate, problems: Sequence[Problem], source: Source, new_tokens: int) -> None:
    """Raise ValueError where a prompt and `new_tokens` more do not fit into the context; a server says so itself.

    Raise ChatError where the chat template treats a task's prompt differently (`check_prompts`).
    """
    check_prompts(candidate.tokenizer, problems, source.system_prompt)
    if candidate.context is not None:
        system, option = source.system_prompt, "max_new_tokens"
        check_context(candidate.context, candidate.tokenizer, problems, system, new_tokens, option)


def _draw_by(backend: Callable[[], RolloutEngine | VLLMBackend]) -> Draw:
    def draw(prompts: Prompts, numbers: Sequence[int], sampling: Sampling, on_rollout: OnRollout) -> None:
        backend().generate(prompts, 1, sampling, sample_numbers=numbers, on_rollout=on_rollout)

    return draw


def _engine(model: PreTrainedModel) -> Draw:
    engine = RolloutEngine(model, trial=False)  # `check_support` has tried it
    return _draw_by(lambda: engine)


def _spread(alone: Draw, together: Draw) -> Draw:
    """Draws a few samples in this process, and many in others."""

    def draw(prompts: Prompts, *how: Any) -> None:
        (alone if len(prompts) < FEW else together)(prompts, *how)

    return draw


def _vllm(name: str, model: PreTrainedModel) -> Draw:
    require_vllm()

    @once
    def backend() -> VLLMBackend:  # started when it is first needed, and ended when nobody holds it any more
        with merged_checkpoint(name, model) as source:
            return VLLMBackend(source)

    return _draw_by(backend)


def _generate(model: PreTrainedModel, pad_token_id: int) -> Draw:
    backend = GenerateBackend(model, pad_token_id, ROWS)

    def draw(prompts: Prompts, numbers: Sequence[int], sampling: Sampling, on_rollout: OnRollout) -> None:
        for start in range(0, len(prompts), ROWS):
            # Its random stream knows no sample numbers, so each batch takes a seed of its own.
            seed = row_key(sampling.seed, 0, problem_key(prompts[start]), numbers[start]) % 2**32
            rollouts = backend.generate(prompts[start : start + ROWS], 1, replace(sampling, seed=seed))
            for place, rollout in enumerate(rollouts, start):
                on_rollout(place, rollout)

    return draw
