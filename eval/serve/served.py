"""The served checkpoint: its tokenizer, its limits, and the defaults of requests."""

from dataclasses import dataclass, replace

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from data.paths import user_path
from data.tasks import get_task
from eval.sampling.source import Source, config_of, read_source
from eval.serve.listen import Options
from train.files.recorded_config import read_run_config
from train.model.chat import TOKENIZERS_OWN
from train.model.chat_checks import ChatError, check_chat
from train.model.loading import ModelError, load_model, load_tokenizer
from train.model.prompts import opens_thinking, stop_ids, thinking_within
from train.publishing.published import FOLDER as PUBLISHED
from train.rollout.interface import Sampling, Thinking, is_temperature
from train.rollout.schedule.requests import longest_sequence
from train.rollout.support import text_config


@dataclass(frozen=True, slots=True)
class Served:
    """The limits that requests are checked against. `thinking` is None where a tag is not one token: no budget then.

    `source` has the problems of the run that the checkpoint is from; None where it is from no run.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling  # for requests that do not say
    longest: int
    opened: bool
    system: bool = True
    system_prompt: str = ""
    show_thinking: bool = True
    source: Source | None = None
    remembers: bool = True  # whether it was trained on more than one question at a time

    @property
    def thinking(self) -> Thinking | None:
        """The thinking tags by id."""
        return self.sampling.thinking


def load_served(checkpoint: str, options: Options) -> tuple[PreTrainedModel, Served]:
    """Load a checkpoint, on the GPU where there is one. Raises ValueError in one line."""
    config = options.config or config_of(user_path(checkpoint).absolute())
    source = read_source(config, own_tasks=options.own_tasks) if config else None
    tokenizer = load_tokenizer(checkpoint, source.chat if source else TOKENIZERS_OWN)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, options.dtype or ("bfloat16" if device == "cuda" else "float32"))
    model = load_model(checkpoint, dtype=dtype).to(device)
    system_prompt = _system_prompt(source) if options.system else ""
    try:
        check_chat(model, tokenizer, system=bool(system_prompt))
    except ChatError as error:
        raise ModelError(f"{checkpoint}: {error}") from None
    context = longest_sequence(text_config(model))
    longest = context if options.longest is None else options.longest
    if not 2 <= longest <= context:
        raise ValueError(f"--max-context is {longest}; expected 2 to {context}, the context of {checkpoint}.")
    return model, Served(
        name=options.name or _short(checkpoint),
        tokenizer=tokenizer,
        sampling=_sampling(model.generation_config, stop_ids(model, tokenizer), _tags(tokenizer)),
        longest=longest,
        opened=opens_thinking(tokenizer),
        system=options.system,
        system_prompt=system_prompt,
        show_thinking=options.show_thinking,
        source=source,
        remembers=config is None or read_run_config(config).get("model") != "scratch",
    )


def _short(checkpoint: str) -> str:
    """The name to serve under: a hub id as it is, of a path the run and the checkpoint, of RUN/model the run."""
    path = user_path(checkpoint)
    if not path.exists():
        return checkpoint
    parts = path.absolute().parts
    if parts[-1] == PUBLISHED and config_of(path.absolute()):
        return parts[-2]
    return f"{parts[-3]}/{parts[-1]}" if len(parts) > 3 and parts[-2] == "checkpoints" else parts[-1]


def _system_prompt(source: Source | None) -> str:
    """The system message of the run's training; the task's own where there is one task."""
    if source is None or source.system_prompt != "task":
        return source.system_prompt if source else ""
    return get_task(source.parts[0].task).instructions if len(source.parts) == 1 else ""


def _tags(tokenizer: PreTrainedTokenizerBase) -> Thinking | None:
    try:
        return replace(thinking_within(tokenizer, 0), budget=None)
    except ValueError:
        return None


def _sampling(published: GenerationConfig, stops: tuple[int, ...], thinking: Thinking | None) -> Sampling:
    """The decoding that the checkpoint was published with; by default the whole distribution."""
    decoding = {name: getattr(published, name, None) for name in ("temperature", "top_p", "top_k", "min_p")}
    settings = {name: value for name, value in decoding.items() if value is not None and published.do_sample}
    if not is_temperature(settings.get("temperature", 1.0)):  # some publish 1e-6 where they mean greedy
        settings["temperature"] = 0.0
    return Sampling(max_new_tokens=1, stop_ids=stops, thinking=thinking, **settings)
