"""Puts a module into the engine's mode or into evaluation mode, and restores it afterwards."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from transformers import AttentionInterface, PreTrainedConfig

from train.rollout.dense.attention import ATTENTION_NAME, rollout_attention

if TYPE_CHECKING:
    from peft import PeftModel

# Registered for attention only: with no mask function under this name transformers builds no mask at all.
AttentionInterface.register(ATTENTION_NAME, rollout_attention)


@contextmanager
def engine_mode(model: torch.nn.Module) -> Iterator[None]:
    """Run `model` in evaluation mode with the engine's attention, without gradients, on its own device.

    TRL samples in train mode, which would leave dropout (LoRA's too) and gradient checkpointing on. The mode of every
    submodule and the attention of every configuration are restored at the end, also after an exception or Ctrl-C.
    """
    modes = [(module, module.training) for module in model.modules()]
    configs = attention_configs(model)
    attentions = [(config, config._attn_implementation_internal) for config in configs]
    try:
        for module, _ in modes:
            module.training = False
        for config in configs:
            config._attn_implementation_internal = ATTENTION_NAME
        with torch.no_grad(), torch.cuda.device(_cuda_index(model)):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for config, attention in attentions:
            config._attn_implementation_internal = attention


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Run `model` in evaluation mode, without gradients, with its own attention."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _cuda_index(model: torch.nn.Module) -> int:
    """The number of the CUDA device that `model` is on; -1, which torch takes for none, elsewhere."""
    device = next(model.parameters()).device
    return device.index if device.type == "cuda" else -1


def attention_configs(model: torch.nn.Module) -> list[PreTrainedConfig]:
    """Every configuration object that some module of `model` reads its attention from, each once."""
    configs = {}
    for module in model.modules():
        config = module.__dict__.get("config")
        if isinstance(config, PreTrainedConfig):
            configs[id(config)] = config
    return list(configs.values())


def is_peft(model: torch.nn.Module) -> "TypeGuard[PeftModel]":
    """Whether `model` is a peft model; peft need not be installed."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def base_model(model: Any) -> Any:
    """The model under peft's adapters, or `model` itself where it has none."""
    return model.get_base_model() if is_peft(model) else model
