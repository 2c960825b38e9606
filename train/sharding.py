"""Sharded weights (FSDP2): trained in pieces, one on each process, and sampled from a whole copy beside them.

A forward of a sharded module is a collective, in which every process must take part. Rollouts end at different steps
on different processes, so an engine on the sharded module would wait for ever. Each process therefore keeps a plain
copy of the model, filled from the shards before a batch of rollouts: one more set of weights in memory, in the type
that forwards compute in.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils.fsdp_utils import fsdp2_canonicalize_names
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from train.rollout import parity
from train.rollout.causes import forward_logprobs
from train.rollout.comparison import ParityReport, compare
from train.rollout.interface import Rollout
from train.rollout.parity import ParityError


@contextmanager
def sharding_on_any_device() -> Iterator[None]:
    """An Accelerator that is made while this is entered shards on CPUs too, and adds up gradients in float32.

    accelerate would leave weights on CPUs whole without a word, though gloo does all that `fully_shard` asks for; and
    with bf16 it would add up the gradients of many micro-batches in bfloat16.
    """
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and PartialState().distributed_type is DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU  # which becomes FSDP
    yield
    plugin = getattr(AcceleratorState(), "fsdp_plugin", None)
    if plugin is not None and plugin.mixed_precision_policy is not None:
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, reduce_dtype=torch.float32)


def reshard(model: torch.nn.Module) -> None:
    """Put every weight back in its shards: after a forward without a backward, those outside the layers lie whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


class WholeCopy:
    """A copy of `model`, made before it is sharded, which `follow` brings up to the shards."""

    def __init__(self, model: torch.nn.Module, accelerator: Accelerator) -> None:
        self.model = copy.deepcopy(model)
        for module in self.model.modules():
            module.__dict__.pop("forward", None)  # trl's, which would lead back to the original
        self.accelerator = accelerator
        policy = accelerator.state.fsdp_plugin.mixed_precision_policy
        self.dtype: torch.dtype | None = policy.param_dtype if policy is not None else None
        self._step: int | None = None  # whose weights it holds

    def follow(self, sharded: torch.nn.Module, step: int) -> torch.nn.Module:
        """The copy, with the weights that `sharded` has after `step`. Every process must call this together."""
        if self._step == step:
            return self.model
        if self._step is None:
            self._take_its_place()
        reshard(sharded)
        shards = fsdp2_canonicalize_names(dict(sharded.named_parameters()))
        for name, weight in self.model.named_parameters():
            if self._step is None or weight.requires_grad:  # what is frozen is right for good
                shard = shards[name].detach().to(weight.dtype)
                weight.data.copy_(shard.full_tensor() if isinstance(shard, DTensor) else shard)
        self._step = step
        return self.model

    def check(
        self,
        sharded: torch.nn.Module,
        prompts: Sequence[Sequence[int]],
        rollouts: Sequence[Rollout],
        *,
        temperature: float,
        pad_id: int,
        most: int,
    ) -> ParityReport:
        """Hold rollouts of the copy against the sharded module. Every process must call this with as many rollouts.

        Raises ParityError, on all of them, where it is over the limit on one.
        """
        report = compare(prompts, rollouts, forward_logprobs(sharded, temperature), most=most)
        limit = parity.LIMITS[next(self.model.parameters()).dtype]
        worst = float(self.accelerator.gather(torch.tensor(report.largest, device=self.accelerator.device)).max())
        if worst <= limit:
            return report
        parity.check(self.model, prompts, rollouts, temperature=temperature, pad_id=pad_id, most=most)
        raise ParityError(
            f"the engine's log-probabilities differ from the sharded model's by up to {worst:.3g} (limit {limit:.3g}), "
            f"{report.largest:.3g} on this process, though here the engine agrees with its own copy of the weights: the "
            "copy does not follow the shards. Use backend: vllm with vllm_mode: server, or leave the weights whole (DDP)."
        )

    def _take_its_place(self) -> None:
        """On the device of the process, in the type that the sharded module computes in; buffers keep theirs."""
        self.model.to(self.accelerator.device)
        for weight in self.model.parameters():
            if self.dtype is not None and weight.is_floating_point():
                weight.data = weight.data.to(self.dtype)
