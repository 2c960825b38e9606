"""The model that a speed benchmark runs, and the prompts that it is given."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from data.mixture import draw_problems, load_mixture
from train.model.loading import resolve
from train.model.prompts import messages, prompt_ids


def load_model(name: str) -> Any:
    """The model called `name` as everywhere, or one of the quickstart's size with random weights for "scratch"."""
    if name != "scratch":
        return AutoModelForCausalLM.from_pretrained(resolve(name), dtype=torch.float32).eval()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.06,
    )
    return LlamaForCausalLM(config).eval()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of the model called `name`, where it has a chat template to ask problems with."""
    if name == "scratch":
        return None
    source = resolve(name)
    if Path(source).is_dir() and not (Path(source) / "tokenizer_config.json").exists():
        return None
    tokenizer = AutoTokenizer.from_pretrained(source)
    return tokenizer if tokenizer.chat_template else None


def random_prompts(count: int, shortest: int, longest: int, vocabulary: int) -> list[list[int]]:
    """`count` prompts of random tokens, of lengths spread over [shortest, longest]."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.linspace(shortest, longest, count).long().tolist()
    return [torch.randint(100, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def problem_prompts(count: int, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """`count` Countdown problems, as a run asks them."""
    problems = draw_problems(load_mixture({"countdown": {}}), "test", count, seed=0)
    return [prompt_ids(tokenizer, messages(problem)) for problem in problems]
