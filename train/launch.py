"""How the processes of a run were started, and what goes together with it: decided early, each refusal with its mend.

`accelerate launch --config_file configs/accelerate/X.yaml` tells its processes what they are by environment variables,
torchrun tells them only how many they are.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers.integrations import deepspeed
from trl import GRPOConfig

from train.config import RunConfig

KINDS = ("one process", "DDP", "FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3")
SHARDED = ("FSDP2", "ZeRO-3")  # no process holds the weights whole
SAMPLERS = ("engine", "generate", "vllm colocate", "vllm server")


@dataclass(frozen=True)
class Launch:
    """The processes of a run. `kind` is one of KINDS, or the name of something that is refused."""

    kind: str
    processes: int
    local_processes: int  # on this machine
    on_cpu: bool  # the launcher says so
    gpus: int  # of this machine
    whole_checkpoints: bool  # as against one in shards, which transformers does not load
    recomputes: bool  # activation checkpointing of FSDP's own


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Read what the launcher has said."""

    def says(name: str) -> bool:
        return environment.get(name, "false").lower() in ("true", "1")

    processes = int(environment.get("WORLD_SIZE", "1"))
    if says("ACCELERATE_USE_DEEPSPEED"):
        kind = f"ZeRO-{_zero_stage(environment)}"
    elif says("ACCELERATE_USE_FSDP"):
        kind = f"FSDP{environment.get('FSDP_VERSION', '1')}"
    elif says("ACCELERATE_USE_MEGATRON_LM"):
        kind = "Megatron-LM"
    elif says("ACCELERATE_USE_PARALLELISM_CONFIG"):
        kind = "a parallelism_config"
    else:
        kind = "DDP" if processes > 1 else "one process"
    return Launch(
        kind=kind,
        processes=processes,
        local_processes=int(environment.get("LOCAL_WORLD_SIZE", str(processes))),
        on_cpu=says("ACCELERATE_USE_CPU"),
        gpus=torch.cuda.device_count(),
        whole_checkpoints=environment.get("FSDP_STATE_DICT_TYPE") == "FULL_STATE_DICT",
        recomputes=says("FSDP_ACTIVATION_CHECKPOINTING"),
    )


def check_launch(launch: Launch) -> None:
    """Raise ValueError where a run cannot begin as it was launched, whatever its configuration.

    This must be asked before transformers is: it connects the processes while it reads its options.
    """
    if launch.kind == "FSDP1":
        raise ValueError(
            "The launcher says fsdp_version 1, which transformers gives up; set fsdp_version: 2, as "
            "configs/accelerate/fsdp2.yaml does."
        )
    if launch.kind not in KINDS:
        raise ValueError(f"The launcher says {launch.kind}; expected one of: {', '.join(KINDS)} (configs/accelerate/).")
    if launch.kind == "FSDP2":
        _check_fsdp(launch)
    if launch.kind.startswith("ZeRO"):
        _check_deepspeed(launch)
    if launch.gpus and not launch.on_cpu and launch.local_processes > launch.gpus:
        raise ValueError(
            f"{launch.local_processes} processes were launched on this machine, which has {launch.gpus} "
            f"GPU{'s' * (launch.gpus > 1)}; launch one process for each GPU with --num_processes."
        )


def _check_fsdp(launch: Launch) -> None:
    if launch.processes == 1:
        raise ValueError(
            "FSDP shards weights over processes, and one was launched; give --num_processes 2 or more, or use "
            "configs/accelerate/one-gpu.yaml."
        )
    if not launch.whole_checkpoints:
        raise ValueError(
            "fsdp_state_dict_type would write checkpoints in shards, which nothing but FSDP loads; set "
            "fsdp_state_dict_type: FULL_STATE_DICT, as configs/accelerate/fsdp2.yaml does."
        )


def _check_deepspeed(launch: Launch) -> None:
    if find_spec("deepspeed") is None:
        raise ValueError(
            f"The launcher says {launch.kind}, but DeepSpeed is not installed: pip install deepspeed, or use "
            "configs/accelerate/fsdp2.yaml."
        )
    if launch.on_cpu or not launch.gpus:
        raise ValueError(
            f"The launcher says {launch.kind}, and DeepSpeed trains on GPUs, of which there are none or "
            "ACCELERATE_USE_CPU is set; on CPUs use configs/accelerate/ddp.yaml or fsdp2.yaml."
        )


@dataclass(frozen=True)
class Rule:
    """What does not go together: a run of one of the kinds, back ends and adapters, and why, with the mend."""

    kinds: tuple[str, ...]
    samplers: tuple[str, ...]
    adapters: tuple[str, ...]
    why: str


RULES: tuple[Rule, ...] = ()


@contextmanager
def unpartitioned() -> Iterator[None]:
    """Models that are made while this is entered are whole, under ZeRO-3 too, and made by this process alone."""
    kept = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = kept
