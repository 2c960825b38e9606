"""The model of a run without its weights: its configuration found, its modules built on fake tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from train.config.run_config import RunConfig
from train.model import scratch, smollm2
from train.model.loading import ModelError, resolve
from train.plan.recipe_models import RECIPE_MODELS

# A model is traced with this many layers, and the others are extrapolated; the first and the last are special.
TRACED_LAYERS = 3


def read_config(run: RunConfig) -> PreTrainedConfig:
    """The configuration of the model that `run` names, its weights unread.

    The models of our own recipes are known without a hub. Raises ModelError in one line.
    """
    if run.model == "scratch":
        with torch.device("meta"):
            return scratch.build_model(run.scratch, scratch.build_tokenizer(run.words)).config  # type: ignore[arg-type]
    if run.model in RECIPE_MODELS or run.model == smollm2.NAME:
        values = dict(RECIPE_MODELS[run.model])
        return AutoConfig.for_model(values.pop("model_type"), **values)
    try:
        source = resolve(run.model)
    except ModelError as error:
        raise ModelError(f"{error} Known without a hub: {', '.join(RECIPE_MODELS)}.") from error
    if (Path(source) / "adapter_config.json").is_file():
        raise ModelError(f"{run.model} is an adapter; plan with the model that it was trained from, and lora_rank.")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the configuration of {run.model} cannot be read: {str(error).splitlines()[0]}") from error


def build(config: PreTrainedConfig, run: RunConfig, layers: int | None = None) -> nn.Module:
    """The model of `run` on the meta device, with its adapters, and with `layers` layers instead of its own number."""
    config = deepcopy(config)
    if layers is not None:
        text = config.get_text_config()
        text.num_hidden_layers = min(layers, text.num_hidden_layers)
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[: text.num_hidden_layers]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=run.dtype)
        if run.lora_rank:
            adapters = LoraConfig(r=run.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(model, adapters)
    return model


@contextmanager
def faked(model: nn.Module) -> Iterator[None]:
    """Give `model` fake weights, on a CPU that computes nothing, and run the body on such tensors.

    A GPU's fake would need a GPU; the caller corrects for what differs there.
    """
    with FakeTensorMode(), torch.device("cpu"):
        stand_ins: dict[int, Any] = {}
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in stand_ins:
                        fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                        stand_ins[id(tensor)] = (
                            nn.Parameter(fake, tensor.requires_grad) if tensors is module._parameters else fake
                        )
                    tensors[name] = stand_ins[id(tensor)]
        yield


def autocast(bf16: bool) -> torch.autocast:
    """Mixed precision on fake tensors, where `bf16`."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def base_of(model: nn.Module) -> Any:
    """The model under its adapters."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of `model`. Raises ModelError where none can be identified."""
    count = base_of(model).config.get_text_config().num_hidden_layers
    lists = [module for module in base_of(model).modules() if isinstance(module, nn.ModuleList)]
    for module in lists:
        if len(module) == count and count:
            return module
    raise ModelError(f"{type(base_of(model)).__name__} has no list of {count} layers; it cannot be planned for.")
