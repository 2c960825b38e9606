"""The model that a run starts from, with its tokenizer, and the adapters that it trains."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from train.config.qlora import four_bits
from train.config.run_config import RunConfig
from train.distributed.zero import unpartitioned
from train.model import scratch
from train.model.loading import load_model, load_tokenizer
from train.model.prompts import stop_ids


def start_model(
    run: RunConfig, seed: int, template_variables: Mapping[str, Any] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer that the run starts from; `template_variables` are set for the chat template."""
    if run.model == "scratch":
        set_seed(seed)
        tokenizer = scratch.build_tokenizer(run.words)
        with unpartitioned():
            return scratch.build_model(run.scratch, tokenizer), tokenizer  # type: ignore[arg-type]
    tokenizer = load_tokenizer(run.model, replace(run.chat, variables=template_variables or {}))
    model = load_trainable(run, run.model)
    if run.eos_token:  # so that a checkpoint ends its turns wherever it is loaded
        model.generation_config.eos_token_id = list(stop_ids(model, tokenizer))
    return model, tokenizer


def load_trainable(run: RunConfig, name: str) -> PreTrainedModel:
    """The model called `name`, in the precision that `run` trains in."""
    return load_model(name, dtype=run.dtype, is_trainable=True, quantised=four_bits() if run.load_in_4bit else {})


def adapters(run: RunConfig) -> LoraConfig | None:
    """The LoRA adapters that the run trains; None where it trains all weights."""
    if not run.lora_rank:
        return None
    return LoraConfig(r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
