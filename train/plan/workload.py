"""What a run asks of a machine in one step, read off its configuration."""

from dataclasses import dataclass, replace
from typing import Any

import yaml
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig

from data.mixture import draw_problems
from train import scratch, smollm2
from train.config import RunConfig
from train.models import ModelError, load_tokenizer
from train.prompts import messages, prompt_ids

# Where no tokenizer is at hand: characters of English and arithmetic to a token, and the tokens of a chat template.
CHARACTERS_PER_TOKEN = 3.5
TEMPLATE_TOKENS = 30
PROMPT_TOKENS = 200  # where the problems are not at hand either


@dataclass(frozen=True, slots=True)
class Workload:
    """One step on one process: `micro_batches` of `rows` rollouts, from prompts of `prompt` tokens.

    Completions have `mean` tokens on average and `most` at most. `assumed` says in words what was not known.
    """

    rows: int
    micro_batches: int
    samples: int  # of each prompt
    prompt: int
    mean: float
    most: int
    bf16: bool
    checkpointing: bool
    eight_bit_optimiser: bool
    steps: int
    assumed: tuple[str, ...] = ()

    @property
    def rollouts(self) -> int:
        """Rollouts of one step, on one process."""
        return self.rows * self.micro_batches

    @property
    def prompts(self) -> int:
        """Prompts of one step, on one process."""
        return max(1, self.rollouts // self.samples)

    def with_rows(self, rows: int) -> "Workload":
        """The same rollouts in micro-batches of `rows`."""
        return replace(self, rows=rows, micro_batches=max(1, self.rollouts // rows))


def read_workload(
    run: RunConfig, training: GRPOConfig, given: dict[str, Any], *, gpu: bool, mean: float | None, prompt: int | None
) -> Workload:
    """The workload of a run. `given` is its YAML file; `mean` and `prompt` tokens are assumed where they are None."""
    assumed = []
    if prompt is None:
        prompt, said = prompt_tokens(run)
        assumed += [said] if said else []
    if mean is None:
        mean = training.max_completion_length / 2
        assumed.append(f"completions of {mean:.0f} tokens on average, half of what is allowed (--mean_tokens)")
    bf16 = training.bf16 if not gpu else bool(given.get("bf16", True))  # parsed here, where there may be no GPU
    return Workload(
        rows=training.per_device_train_batch_size,
        micro_batches=training.steps_per_generation,
        samples=training.num_generations,
        prompt=prompt,
        mean=min(mean, training.max_completion_length),
        most=training.max_completion_length,
        bf16=bf16,
        checkpointing=training.gradient_checkpointing,
        eight_bit_optimiser="8bit" in str(training.optim),
        steps=training.max_steps,
        assumed=tuple(assumed),
    )


def prompt_tokens(run: RunConfig) -> tuple[int, str]:
    """The mean length of the prompts in tokens, and what was assumed to say so."""
    try:
        problems = draw_problems(run.parts, "train", min(50, run.train_problems), run.split_seed)
    except (ValueError, OSError):
        return PROMPT_TOKENS, f"prompts of {PROMPT_TOKENS} tokens, as the problems are not at hand (--prompt_tokens)"
    conversations = [messages(problem, run.system_prompt) for problem in problems]
    tokenizer = _tokenizer(run)
    if tokenizer is not None:
        return round(sum(len(prompt_ids(tokenizer, each)) for each in conversations) / len(conversations)), ""
    characters = sum(len(message["content"]) for each in conversations for message in each) / len(conversations)
    tokens = round(characters / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS)
    return tokens, f"prompts of {tokens} tokens, from their characters (--prompt_tokens)"


def _tokenizer(run: RunConfig) -> PreTrainedTokenizerBase | None:
    """The run's tokenizer where it is on this machine; nothing is downloaded for a plan."""
    if run.model == "scratch":
        return scratch.build_tokenizer(run.words)
    if run.model == smollm2.NAME and not smollm2.is_complete(smollm2.cache_dir() / smollm2.NAME):
        return None
    try:
        return load_tokenizer(run.model, run.chat)
    except ModelError:
        return None


def read_yaml(path: str) -> dict[str, Any]:
    """The configuration file as it is written."""
    return yaml.safe_load(open(path)) or {}
