"""Which forward a model is decoded by: fused layers where a trial equals the module, else the module itself."""

from collections.abc import Sequence

import torch

from train.rollout.dense.pool import LayerShape
from train.rollout.limits import SHARE_FOR_SHADOW, Limits
from train.rollout.memory import memory_budget
from train.rollout.paged.attention import kernel_for
from train.rollout.paged.decoder import power_of_two
from train.rollout.paged.forwards import Forward, ModuleForward
from train.rollout.paged.shadow import NotFusable


def choose_forward(
    old: Forward | None,
    model: torch.nn.Module,
    layers: Sequence[LayerShape],
    limits: Limits,
    longest: int,
    page_tokens: int,
) -> Forward:
    """`old` where it still fits `model`, else a new one, for sequences up to `longest` tokens.

    Raises ValueError where `limits` ask for deterministic results and no fused layers can give them.
    """
    dtype = layers[0].value_dtype
    context = power_of_two(longest + 4 * page_tokens)
    if old is not None and old.fits(model, context, dtype):
        return old
    reason = "the kernels do not run here"
    device = next(model.parameters()).device
    if limits.own_kernels:
        try:
            return _fused(model, context, dtype, memory_budget(limits.cache_gib, device), limits)
        except NotFusable as error:
            reason = str(error)
    if limits.deterministic:
        raise ValueError(f"deterministic rollouts need the fused layers, which do not compute this model: {reason}.")
    kernels = [kernel_for(layer, page_tokens, device, own=limits.own_kernels) for layer in layers]
    return ModuleForward(model, kernels, dtype, reason if limits.own_kernels else None)


def _fused(model: torch.nn.Module, context: int, dtype: torch.dtype, budget: int, limits: Limits) -> Forward:
    from train.rollout.paged.fused_forward import FusedForward  # imports triton, which not every machine has

    size = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    if size > SHARE_FOR_SHADOW * budget:
        raise NotFusable(f"a shadow of its weights would take {size / 2**30:.1f} of {budget / 2**30:.1f} GiB")
    try:
        return FusedForward(model, context, dtype, merges=limits.merge_adapters, invariant=limits.deterministic)
    except (TypeError, AttributeError, LookupError, RuntimeError) as error:  # a layer of some other make
        raise NotFusable(f"its layers could not be tried ({type(error).__name__}: {error})") from error
