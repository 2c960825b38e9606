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

from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.gate import LIMITS, ParityError


@contextmanager
def sharding_on_any_device() -> Iterator[None]:
    """An Accelerator that is made while this is entered shards on CPUs too, and adds up gradients in float32.

    accelerate would leave weights on CPUs whole without a word, though gloo does all that `fully_shard` asks for; and
    with bf16 it would add up the gradients of many micro-batches in bfloat16.
    """
    wants_fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if wants_fsdp and PartialState().distributed_type is DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU  # which becomes FSDP
    yield
    plugin = getattr(AcceleratorState(), "fsdp_plugin", None)
    if plugin is not None and plugin.mixed_precision_policy is not None:
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, reduce_dtype=torch.float32)


def reshard(model: torch.nn.Module) -> None:
    """Put every weight back in its shards: after a forward without a backward, those outside the layers are whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


class WholeCopy:
    """A copy of `model`, made before it is sharded; `follow` updates it from the shards."""

    def __init__(self, model: torch.nn.Module, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        policy = accelerator.state.fsdp_plugin.mixed_precision_policy
        dtype = policy.param_dtype if policy is not None else None
        # Straight to their device: a detour through main memory would need one more copy there.
        weights = {
            id(weight): torch.nn.Parameter(
                weight.detach().to(accelerator.device, dtype, copy=True), requires_grad=weight.requires_grad
            )
            for weight in model.parameters()
        }
        self.model = copy.deepcopy(model, weights).to(accelerator.device)
        for module in self.model.modules():
            module.__dict__.pop("forward", None)  # trl's, which would lead back to the original
        self._step: int | None = None  # whose weights it holds

    def follow(self, sharded: torch.nn.Module, step: int, prompt: Sequence[int]) -> torch.nn.Module:
        """The copy, with the weights that `sharded` has after `step`. All processes must call this together.

        After new weights the log-probabilities of a prompt are compared, each process with its own prompt. Raises
        ParityError, in all processes, where the two differ in one.
        """
        if self._step == step:
            return self.model
        reshard(sharded)
        shards = fsdp2_canonicalize_names(dict(sharded.named_parameters()))
        for name, weight in self.model.named_parameters():
            if self._step is None or weight.requires_grad:  # frozen weights stay right
                shard = shards[name].detach().to(weight.dtype)
                weight.data.copy_(shard.full_tensor() if isinstance(shard, DTensor) else shard)
        self._step = step
        self._compare(sharded, list(prompt))
        return self.model

    def _compare(self, sharded: torch.nn.Module, prompt: list[int]) -> None:
        (theirs,), (mine,) = (forward_logprobs(model)([prompt], [prompt]) for model in (sharded, self.model))
        reshard(sharded)
        gap = (theirs - mine).abs().nan_to_num(nan=0.0).max()  # values that are not finite have their own guard
        worst = float(self.accelerator.gather(gap.to(self.accelerator.device)).max())
        limit = LIMITS[next(self.model.parameters()).dtype]
        if worst > limit:
            raise ParityError(
                f"the copy of the sharded weights that rollouts are sampled from gives log-probabilities that differ "
                f"from the sharded model's by up to {worst:.3g} (limit {limit:.3g}); use backend: vllm, or leave the "
                "weights whole (configs/accelerate/ddp.yaml)."
            )
