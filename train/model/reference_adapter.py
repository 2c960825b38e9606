"""The reference (`beta`) of a model that starts from a PEFT adapter: a frozen copy of that adapter as it was loaded.

TRL adds it as a second adapter `ref` and copies the weights of modules. It does not copy bare parameters (of IA3, VeRA,
LoHa, and LoRA on embeddings), so the KL would be to another model, without a word. Adding an adapter also changes the
base model a second time where the first one began from its weights (PiSSA, OLoRA) or repeats layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from trl.trainer.utils import use_adapter

from train.rollout.module_state import evaluation_mode
from train.rollout.support import model_name

OWN, REFERENCE = "default", "ref"  # the names that PEFT and TRL give the two
PROBE_TOKENS = 8
LARGEST = 0.02  # of the largest logit, in half precision too


@contextmanager
def exact_reference(model: Any, beta: float) -> Iterator[None]:
    """Around TRL's set-up of a trainer: makes the reference of `model` a copy of its adapter.

    Raises ValueError where policy or reference does not compute what `model` computed before.
    """
    if not isinstance(model, PeftModel) or not beta:
        yield
        return
    if any(hasattr(weight, "ds_id") for weight in model.parameters()):
        raise ValueError(
            f"beta is {beta}, but the reference of an adapter cannot be copied from weights that ZeRO-3 of DeepSpeed "
            "has split over processes. Set beta: 0, or take a lower stage of ZeRO."
        )
    before = _logits(model)
    config = model.peft_config[OWN]
    changes_base = {
        name: value
        for name, value in vars(config).items()
        if (name == "init_lora_weights" and isinstance(value, str)) or (name == "layer_replication" and value)
    }
    vars(config).update({name: name == "init_lora_weights" or None for name in changes_base})
    try:
        yield
    finally:
        vars(config).update(changes_base)
    if REFERENCE not in model.peft_config:
        return
    for name, weight in model.named_parameters():
        if name.endswith(f".{OWN}"):
            model.get_parameter(name.removesuffix(OWN) + REFERENCE).data.copy_(weight.data)
    policy = _logits(model)
    with use_adapter(model, REFERENCE):
        reference = _logits(model)
    gap = max(float((other - before).abs().max()) for other in (policy, reference))
    if not gap <= LARGEST * float(before.abs().max()):
        raise ValueError(
            f"beta is {beta}, but {model_name(model)} cannot have a reference beside its adapter of kind "
            f"{config.peft_type.value}: their logits differ by up to {gap:.2g}. Set beta: 0, or merge the adapter."
        )


def _logits(model: PeftModel) -> torch.Tensor:
    ids = torch.arange(PROBE_TOKENS, device=next(model.parameters()).device).unsqueeze(0)
    with evaluation_mode(model):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float().cpu()
