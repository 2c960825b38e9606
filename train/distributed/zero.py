"""DeepSpeed ZeRO assumes that a process trains once; ours trains twice.

accelerate and transformers keep DeepSpeed's settings for the whole process, and with ZeRO-3 every model that is made is
partitioned at once, by all processes together.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.state import AcceleratorState
from transformers.integrations import deepspeed
from trl import GRPOConfig


@contextmanager
def unpartitioned() -> Iterator[None]:
    """Models that are made while this is entered are whole, under ZeRO-3 too, and made by this process alone."""
    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference


def take_deepspeed(training: GRPOConfig) -> None:
    """Make DeepSpeed's settings those of `training`; another trainer may have left its own.

    Its checkpoints are then read without unpickling anything but tensors and the classes named here.
    """
    if training.deepspeed_plugin is None:
        return
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    torch.serialization.add_safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address])
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    AcceleratorState._reset_state()
    training.deepspeed_plugin.set_deepspeed_weakref()
