"""QLoRA: the weights in 4 bits, frozen, under LoRA adapters in full precision (Dettmers et al. 2023, arXiv 2305.14314).

The rollout engine samples from the quantised module itself, so rollouts and loss see the same weights. A checkpoint
holds the adapters alone; loaded without `load_in_4bit` they apply to the weights before rounding.
"""

from importlib.util import find_spec

import torch
from accelerate import PartialState
from transformers import BitsAndBytesConfig
from trl import GRPOConfig

from train.config.run_config import RunConfig


def check_quantised(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError where `load_in_4bit` cannot work on this machine, before anything is loaded."""
    if not run.load_in_4bit:
        return
    if training.use_cpu or not torch.cuda.is_available():
        raise ValueError(
            "load_in_4bit is set, which trains on a CUDA GPU only, and there is none here, or use_cpu is set; leave it "
            "out: plain LoRA runs anywhere."
        )
    if find_spec("bitsandbytes") is None:
        raise ValueError("load_in_4bit is set, but bitsandbytes is not installed; pip install bitsandbytes.")


def four_bits() -> dict[str, object]:
    """The quantisation for `from_pretrained`: NF4, its scales quantised again, multiplied in bfloat16, on this GPU."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": PartialState().device}}


def is_quantised(model: torch.nn.Module) -> bool:
    """Whether the weights of `model` are in 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def keep_adapters_precise(model: torch.nn.Module) -> None:
    """Give the adapters of a quantised `model` float32 weights again, before the optimiser is made.

    TRL casts them to bfloat16, whose steps near a weight of 0.03 are 1e-4: an update of RL's size, 1e-5, is lost.
    """
    if is_quantised(model):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
