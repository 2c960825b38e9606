"""How the processes of a run were launched, and which options fit that. Each refusal says how to mend it.

`accelerate launch --config_file configs/accelerate/X.yaml` tells its processes what they are by environment variables,
torchrun tells them only how many they are.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from trl import GRPOConfig

from train.config.run_config import RunConfig

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

    Call this before transformers reads its options, since that connects the processes.
    """
    if launch.kind == "FSDP1":
        raise ValueError(
            "The launcher says fsdp_version 1, which transformers is about to drop; set fsdp_version: 2, as "
            "configs/accelerate/fsdp2.yaml does."
        )
    if launch.kind not in KINDS:
        raise ValueError(f"The launcher says {launch.kind}; expected one of: {', '.join(KINDS)} (configs/accelerate/).")
    if launch.kind == "FSDP2":
        _check_fsdp(launch)
    if launch.kind.startswith("ZeRO"):
        _check_deepspeed(launch)


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
            f"The launcher says {launch.kind}, but DeepSpeed needs a GPU, and there is none or ACCELERATE_USE_CPU is "
            "set; on CPUs use configs/accelerate/ddp.yaml or fsdp2.yaml."
        )


@dataclass(frozen=True)
class Conflict:
    """A combination that cannot work: kinds of launch, rollout back ends, and a configuration for which `when` is true.

    `why` says so, and what to do.
    """

    why: str
    kinds: tuple[str, ...] = KINDS
    samplers: tuple[str, ...] = SAMPLERS
    when: Callable[[RunConfig, GRPOConfig, Launch], bool] = lambda *_: True


CONFLICTS = (
    Conflict(
        "The configuration sets fsdp or deepspeed, which only the launcher can set, before the processes start; leave "
        "it out, and accelerate launch --config_file configs/accelerate/fsdp2.yaml (or zero2, zero3).",
        when=lambda _, training, __: bool(training.fsdp or training.deepspeed),
    ),
    Conflict(
        "Several processes were launched, but each would train by itself: there is no GPU here, and nothing says that "
        "this is meant; set use_cpu: true.",
        when=lambda _, training, launch: training.world_size != launch.processes,
    ),
    Conflict(
        "More processes were launched on this machine than it has GPUs; launch one for each, with --num_processes, or "
        "set use_cpu: true.",
        when=lambda _, training, launch: 0 < launch.gpus < launch.local_processes and not _on_cpu(training, launch),
    ),
    Conflict(
        "One process was launched where there are several GPUs, and would split each batch over them, which breaks "
        "rollouts; launch one process for each (configs/accelerate/ddp.yaml), or show it one with "
        "configs/accelerate/one-gpu.yaml.",
        kinds=("one process",),
        when=lambda _, training, __: training.n_gpu > 1,
    ),
    Conflict(
        "The run is to train on the CPU, but fully_shard takes the GPUs that it sees; hide them with "
        "CUDA_VISIBLE_DEVICES= before the command, or use configs/accelerate/ddp.yaml.",
        kinds=("FSDP2",),
        when=lambda _, training, launch: launch.gpus > 0 and _on_cpu(training, launch),
    ),
    Conflict(
        "use_cpu is set, and DeepSpeed trains on GPUs; on CPUs use configs/accelerate/ddp.yaml or fsdp2.yaml.",
        kinds=("ZeRO-1", "ZeRO-2", "ZeRO-3"),
        when=lambda _, training, __: training.use_cpu,
    ),
    Conflict(
        "sync_ref_model copies the weights into the reference model, which does not work where both are sharded; "
        "leave it out, or leave the weights whole (configs/accelerate/ddp.yaml or zero2.yaml).",
        kinds=SHARDED,
        when=lambda _, training, __: training.sync_ref_model,
    ),
    Conflict(
        "cast_lm_head_to_fp32 changes the model's own forward, but under FSDP2 rollouts come from a copy without that "
        "change; leave it out, or leave the weights whole (configs/accelerate/ddp.yaml).",
        kinds=("FSDP2",),
        samplers=("engine", "generate"),
        when=lambda _, training, __: training.cast_lm_head_to_fp32,
    ),
    Conflict(
        "load_in_4bit is set, and our loading of 4-bit weights does not shard them; leave the weights whole "
        "(configs/accelerate/ddp.yaml), or leave load_in_4bit out.",
        kinds=("FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3"),
        when=lambda run, _, __: run.load_in_4bit,
    ),
    Conflict(
        "gradient_checkpointing and fsdp_activation_checkpointing are the same thing done twice; leave one out.",
        kinds=("FSDP2",),
        when=lambda _, training, launch: training.gradient_checkpointing and launch.recomputes,
    ),
)


def _on_cpu(training: GRPOConfig, launch: Launch) -> bool:
    return training.use_cpu or launch.on_cpu


def refusal(launch: Launch, run: RunConfig, training: GRPOConfig) -> str | None:
    """Why a run cannot be trained as it was launched, in one line with the mend, or None."""
    sampler = f"vllm {training.vllm_mode}" if run.backend == "vllm" else run.backend
    for conflict in CONFLICTS:
        if launch.kind in conflict.kinds and sampler in conflict.samplers and conflict.when(run, training, launch):
            return conflict.why
    return None


def _zero_stage(environment: Mapping[str, str]) -> str:
    """The stage in DeepSpeed's settings: in a variable, or in a JSON file that the launcher points to."""
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "")
    if file.endswith(".json"):
        try:
            return str(json.loads(Path(file).read_text())["zero_optimization"]["stage"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"deepspeed_config_file is {file}, and its zero_optimization.stage cannot be read ({error}); write it "
                "there, or use configs/accelerate/zero2.yaml or zero3.yaml."
            ) from None
    return environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
