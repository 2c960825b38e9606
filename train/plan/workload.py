"""The work of one step of a run, by its configuration."""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig

from data.mixture import draw_problems
from train.config.run_config import RunConfig
from train.files.cache_dir import cache_dir
from train.model import scratch, smollm2
from train.model.loading import ModelError, load_tokenizer
from train.model.prompts import messages, prompt_ids

# Where no tokenizer is at hand: characters of English and arithmetic to a token, and the tokens of a chat template.
CHARACTERS_PER_TOKEN = 3.5
TEMPLATE_TOKENS = 30
PROMPT_TOKENS = 200  # where the problems are not at hand either
NOT_AT_HAND = f"prompts of {PROMPT_TOKENS} tokens, since the problems are not at hand (--prompt_tokens)"


@dataclass(frozen=True, slots=True)
class Workload:
    """One step on one process: `micro_batches` of `rows` rollouts, from prompts of `prompt` tokens.

    Completions have `mean` tokens on average and `most` at most, or these `lengths`, where they are known. `assumed`
    names in words what was assumed instead.
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
    lengths: tuple[int, ...] = ()

    @property
    def rollouts(self) -> int:
        """Rollouts of one step, on one process."""
        return self.rows * self.micro_batches

    @property
    def prompts(self) -> int:
        """Prompts of one step, on one process."""
        return max(1, self.rollouts // self.samples)

    @property
    def completions(self) -> np.ndarray:
        """The length of each, (rollouts,); spread as evenly as mean and most allow, where nothing more is known."""
        if self.lengths:
            return np.array(self.lengths)
        half = min(self.mean - 1, self.most - self.mean)
        places = (np.arange(self.rollouts) + 0.5) / self.rollouts
        lengths = np.rint(self.mean - half + 2 * half * places).astype(np.int64).clip(1, self.most)
        return np.random.default_rng(0).permutation(lengths)

    @property
    def widths(self) -> np.ndarray:
        """Tokens of the longest completion of each micro-batch, (micro_batches,): they are sorted by length."""
        return np.sort(self.completions)[self.rows - 1 :: self.rows]

    def with_rows(self, rows: int) -> "Workload":
        """The same rollouts in micro-batches of `rows`."""
        return replace(self, rows=rows, micro_batches=max(1, self.rollouts // rows))


def read_workload(
    run: RunConfig,
    training: GRPOConfig,
    *,
    bf16: bool,
    mean: float | None = None,
    prompt: int | None = None,
    at_hand: bool = True,
) -> Workload:
    """The workload of a run on one process.

    `mean` and `prompt` tokens are assumed where they are None. `at_hand` says that the run's problems can be read here.
    """
    assumed = []
    if prompt is None:
        prompt, note = prompt_tokens(run) if at_hand else (PROMPT_TOKENS, NOT_AT_HAND)
        assumed += [note] if note else []
    if run.backend == "vllm":
        assumed.append("rollouts sampled by our engine, though backend is vllm, whose own memory is not planned")
    if mean is None:
        mean = training.max_completion_length / 2
        assumed.append(f"completions of {mean:.0f} tokens on average, half of what is allowed (--mean_tokens)")
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
        steps=training.max_steps if training.max_steps > 0 else _steps_of_epochs(run, training),
        assumed=tuple(assumed),
    )


def _steps_of_epochs(run: RunConfig, training: GRPOConfig) -> int:
    rollouts = training.per_device_train_batch_size * training.steps_per_generation
    return ceil(training.num_train_epochs * run.train_problems * training.num_generations / rollouts)


def prompt_tokens(run: RunConfig) -> tuple[int, str]:
    """The mean length of the prompts in tokens, and the assumption behind it."""
    problems = draw_problems(run.parts, "train", min(50, run.train_problems), run.split_seed)
    conversations = [messages(problem, run.system_prompt) for problem in problems]
    tokenizer = _tokenizer(run)
    if tokenizer is not None:
        return round(sum(len(prompt_ids(tokenizer, each)) for each in conversations) / len(conversations)), ""
    characters = sum(len(message["content"]) for each in conversations for message in each) / len(conversations)
    tokens = round(characters / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS)
    return tokens, f"prompts of {tokens} tokens, from their characters (--prompt_tokens)"


def _tokenizer(run: RunConfig) -> PreTrainedTokenizerBase | None:
    """The run's tokenizer, where this machine can load it; fetches no weights."""
    if run.model == "scratch":
        return scratch.build_tokenizer(run.words)
    if run.model == smollm2.NAME and not smollm2.is_complete(cache_dir() / smollm2.NAME):
        return None
    try:
        return load_tokenizer(run.model, run.chat)
    except ModelError:
        return None
