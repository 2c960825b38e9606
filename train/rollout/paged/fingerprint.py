"""What a CUDA graph of a model takes for granted, and whether a graph of it can be right at all.

A graph is a list of kernels and of the addresses that they read. Weights that the optimiser updates in place are read
anew by every replay. Weights that moved (FSDP, ZeRO, `model.to`), another set of adapters or hooks, or another autocast
make it wrong without any error.
"""

import sys
from itertools import chain
from typing import Any

import torch
from torch.distributed.tensor import DTensor


def fingerprint(model: torch.nn.Module, device_type: str) -> tuple[Any, ...]:
    """Equal for two calls if a graph captured in one is right in the other."""
    tensors = [(t.data_ptr(), t.shape, t.stride(), t.dtype) for t in chain(model.parameters(), model.buffers())]
    autocast = (torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type))
    return tensors, structure(model), autocast


def structure(model: torch.nn.Module) -> tuple[Any, ...]:
    """What `model` computes beside its weights: modules, hooks and adapters."""
    modules = [(id(module), _hooks(module), id(module.__dict__.get("forward"))) for module in model.modules()]
    adapters = [
        (tuple(module.active_adapters), tuple(module.merged_adapters), module.disable_adapters)
        for module in _instances(model, "peft.tuners.tuners_utils", "BaseTunerLayer")
    ]
    lora = _instances(model, "peft.tuners.lora.layer", "LoraLayer")
    scalings = [tuple(module.scaling.items()) for module in lora]
    return modules, adapters, scalings


def _instances(model: torch.nn.Module, file: str, kind: str) -> list[Any]:
    """The modules of `model` that are of a class of peft, which nobody may have imported, or installed."""
    module = sys.modules.get(file)
    return [] if module is None else [m for m in model.modules() if isinstance(m, getattr(module, kind))]


def _hooks(module: torch.nn.Module) -> frozenset[int]:
    """The hooks of `module`, by code and each once.

    With gradient checkpointing trl registers the same hook anew, and once more, around every batch of rollouts.
    """
    hooks = chain(module._forward_pre_hooks.values(), module._forward_hooks.values())
    return frozenset(id(getattr(hook, "__code__", hook)) for hook in hooks)


def why_not_capturable(model: torch.nn.Module) -> str | None:
    """Why no graph of `model` can be right, or None."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor):
            return f"{name} is sharded (a DTensor, as under FSDP2)"
        if not parameter.numel():
            return f"{name} is empty (partitioned, as under ZeRO-3)"
        if type(parameter).__name__ == "Params4bit":
            return "its weights are in 4 bits, whose kernels have not been tried in a graph"
    return None
