"""Which forward a model is decoded by: fused layers where a trial equals the module, else compiled ones where their
trial does, else the module itself.
"""

from collections.abc import Sequence

import torch

from train.rollout.dense.pool import LayerShape
from train.rollout.limits import SHARE_FOR_SHADOW, Limits
from train.rollout.memory import memory_budget
from train.rollout.paged.attention import Kernel, kernel_for
from train.rollout.paged.compiled.layers import NotCompilable
from train.rollout.paged.forwards import Forward, ModuleForward
from train.rollout.paged.fused.shadow import NotFusable
from train.rollout.paged.graphs import power_of_two


def still_fits(
    forward: Forward, model: torch.nn.Module, layers: Sequence[LayerShape], longest: int, page_tokens: int
) -> bool:
    """Whether a forward serves `model` as it is now, for sequences up to `longest` tokens."""
    return forward.fits(model, _context(longest, page_tokens), layers[0].value_dtype)


def choose_forward(
    model: torch.nn.Module, layers: Sequence[LayerShape], limits: Limits, longest: int, page_tokens: int
) -> Forward:
    """A forward for sequences up to `longest` tokens. An older one's memory should be given back before.

    Raises ValueError where `limits` ask for deterministic results and no fused layers can give them.
    """
    dtype = layers[0].value_dtype
    context = _context(longest, page_tokens)
    reason = "the kernels do not run here"
    device = next(model.parameters()).device
    if limits.own_kernels and not limits.fuse_layers:
        reason = "fused layers are left out"
    elif limits.own_kernels:
        try:
            return _fused(model, context, dtype, memory_budget(limits.cache_gib, device), limits)
        except NotFusable as error:
            reason = str(error)
    if limits.deterministic:
        raise ValueError(f"deterministic rollouts need the fused layers, which do not compute this model: {reason}.")
    kernels = [kernel_for(layer, page_tokens, device, own=limits.own_kernels) for layer in layers]
    if limits.compile_layers:
        try:
            return _compiled(model, kernels, dtype, reason)
        except NotCompilable as error:
            reason = f"{reason}; {error}"
    return ModuleForward(model, kernels, dtype, reason if limits.own_kernels or limits.compile_layers else None)


def _context(longest: int, page_tokens: int) -> int:
    return power_of_two(longest + 4 * page_tokens)


def _fused(model: torch.nn.Module, context: int, dtype: torch.dtype, budget: int, limits: Limits) -> Forward:
    from train.rollout.paged.fused.forward import FusedForward  # imports triton, which not every machine has

    size = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    if size > SHARE_FOR_SHADOW * budget:
        raise NotFusable(f"a shadow of its weights would take {size / 2**30:.1f} of {budget / 2**30:.1f} GiB")
    try:
        return FusedForward(model, context, dtype, merges=limits.merge_adapters, invariant=limits.deterministic)
    except torch.OutOfMemoryError:  # says nothing of the model, and must not decide for all calls to come
        raise
    except (TypeError, AttributeError, LookupError, RuntimeError) as error:  # a layer of some other make
        raise NotFusable(f"its layers could not be tried ({type(error).__name__}: {error})") from error


def _compiled(model: torch.nn.Module, kernels: list[Kernel], dtype: torch.dtype, reason: str) -> Forward:
    from train.rollout.paged.compiled.forward import CompiledForward  # imports triton, which not every machine has

    try:
        return CompiledForward(model, kernels, dtype, reason)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, AttributeError, LookupError, RuntimeError, ImportError) as error:  # whatever the compiler raises
        lines = str(error).strip().splitlines() or [""]
        raise NotCompilable(f"its layers do not compile ({type(error).__name__}: {lines[0]})") from error
