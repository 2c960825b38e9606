"""Whether the layers of the loss are computed again in the backward pass, decided by what the plan counts.

The second forward costs a quarter of the products of the loss; it pays only where the activations would not fit. On a
GPU a large pool of keys and values is given back before the loss, so the room is often there.
"""

from dataclasses import replace

import torch
from trl import GRPOConfig

from train.config.launch import Launch
from train.config.run_config import RunConfig
from train.plan.costs import Costs
from train.plan.devices import GIB, GPUS, Gpu
from train.plan.share import Share
from train.plan.step_plan import ROOM, plan_cache, plan_memory
from train.plan.workload import read_workload


def decide_checkpointing(run: RunConfig, training: GRPOConfig, launch: Launch) -> str | None:
    """Set `gradient_checkpointing` by the room on this process's GPU; a line to print, or None where nothing changes.

    Every process decides the same, as long as all have GPUs of one size.
    """
    if not run.plan_checkpointing or training.use_cpu or launch.on_cpu or not torch.cuda.is_available():
        return None
    if launch.recomputes:
        return None  # FSDP does it already
    properties = torch.cuda.get_device_properties(training.device)
    gpu = replace(GPUS["H100"], name=properties.name, memory=float(properties.total_memory))
    share = Share(launch.processes, sharded=launch.kind == "FSDP2")
    try:
        work = read_workload(run, training, bf16=training.bf16 or training.fp16)
        costs = with_decided_checkpointing(Costs(run, work, gpu=True), gpu, share)
    except ValueError as error:  # a model that cannot be planned for
        return f"Gradient checkpointing stays as the config says: {error}"
    training.gradient_checkpointing = costs.work.checkpointing
    return f"G{costs.work.assumed[-1][1:]}."


def with_decided_checkpointing(costs: Costs, gpu: Gpu, share: Share) -> Costs:
    """`costs` with checkpointing where it is needed and without where not, which its workload says in words."""
    needed, reason = needs_checkpointing(costs, gpu, share)
    text = f"gradient checkpointing {'on' if needed else 'off'}: {reason}"
    return costs.altered(replace(costs.work, checkpointing=needed, assumed=(*costs.work.assumed, text)))


def needs_checkpointing(costs: Costs, gpu: Gpu, share: Share) -> tuple[bool, str]:
    """Whether a step of `costs` does not fit `gpu` without it, and why, in words."""
    without = costs.altered(gradient_checkpointing=False)
    peak = sum(plan_memory(without, gpu, plan_cache(without, gpu, share), share=share).phases["loss"].values())
    room = ROOM * gpu.memory
    reason = f"the plan counts {peak / GIB:.1f} GiB for the loss without it, of {room / GIB:.1f} that a step may take"
    return peak > room, reason
