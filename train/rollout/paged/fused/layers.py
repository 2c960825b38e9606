"""A decoder layer of nine launches, ten where attention is split: what `transformers` writes as forty and more.

One residual stream runs through the layers. Each begins with the norm of the stream plus what the layer before it has
left to add, so that no addition is a launch of its own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from train.rollout.paged.attention import Sequences
from train.rollout.paged.fused.shadow import NotFusable, Shadow, refuse_hooks
from train.rollout.triton_kernels.decode_attention import decode_attention, split_tokens
from train.rollout.triton_kernels.gated import gated
from train.rollout.triton_kernels.norm import residual_norm
from train.rollout.triton_kernels.prefill_attention import prefill_attention
from train.rollout.triton_kernels.product import invariant_linear
from train.rollout.triton_kernels.rope import rope_write


@dataclass(slots=True)
class Norm:
    """A root-mean-square norm: its weight counts `offset` more than it says."""

    weight: torch.Tensor
    epsilon: float
    offset: float


@dataclass(slots=True)
class AttentionTraits:
    """What a layer's attention was called with."""

    scaling: float
    window: int | None
    softcap: float | None = None
    sinks: torch.Tensor | None = None


@dataclass(slots=True)
class FusedLayer:
    """The weights of one layer in a shadow, and how it computes."""

    qkv: tuple[torch.Tensor, torch.Tensor | None]
    output: tuple[torch.Tensor, torch.Tensor | None]
    gate_up: tuple[torch.Tensor, torch.Tensor | None]
    down: tuple[torch.Tensor, torch.Tensor | None]
    input_norm: Norm
    feedforward_norm: Norm
    query_norm: Norm | None
    key_norm: Norm | None
    attention_output_norm: Norm | None  # Gemma 2 and 3 norm what a branch adds
    feedforward_output_norm: Norm | None
    heads: int
    gelu: bool
    attention: AttentionTraits
    rotary: int | None = 0  # number of the table of cosines and sines; None: no positions


@dataclass(slots=True)
class Tokens:
    """The tokens of one forward: where they are, and what they read."""

    positions: torch.Tensor  # (tokens,) int64
    slots: torch.Tensor  # (tokens,) int64
    sequences: Sequences


@dataclass(slots=True)
class Stream:
    """The residual stream (tokens, width), and what is still to be added to it."""

    hidden: torch.Tensor
    delta: torch.Tensor | None = None
    norm: Norm | None = None  # of `delta`, before it is added

    def normed(self, norm: Norm, dtype: torch.dtype) -> torch.Tensor:
        """Add what is to be added; the norm of the sum (tokens, width)."""
        post, self.norm = self.norm, None
        delta, self.delta = self.delta, None
        return residual_norm(
            self.hidden,
            delta,
            norm.weight,
            norm.epsilon,
            dtype,
            offset=norm.offset,
            post_weight=None if post is None else post.weight,
        )


def run_layer(
    layer: FusedLayer,
    stream: Stream,
    tokens: Tokens,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: list[tuple[torch.Tensor, torch.Tensor]],
    *,
    invariant: bool = False,
) -> None:
    """Run one layer over `stream`, over its pages `keys` and `values` (pages, page tokens, key heads, dim).

    `invariant` asks for products and splits that do not depend on the batch.
    """
    product = invariant_linear if invariant else functional.linear
    dtype = layer.qkv[0].dtype
    projected = product(stream.normed(layer.input_norm, dtype), *layer.qkv)
    norms = layer.query_norm is not None and layer.key_norm is not None
    queries = rope_write(
        projected,
        tokens.positions,
        tokens.slots,
        keys,
        values,
        layer.heads,
        table=None if layer.rotary is None else tables[layer.rotary],
        norms=(layer.query_norm.weight, layer.key_norm.weight) if norms else None,  # type: ignore[union-attr]
        epsilon=layer.query_norm.epsilon if layer.query_norm is not None else 0.0,
        offset=layer.query_norm.offset if layer.query_norm is not None else 0.0,
    )
    mixed = _attend(layer.attention, queries, keys, values, tokens.sequences, invariant)
    stream.delta, stream.norm = product(mixed.flatten(1), *layer.output), layer.attention_output_norm
    gate_up = product(stream.normed(layer.feedforward_norm, dtype), *layer.gate_up)
    stream.delta, stream.norm = product(gated(gate_up, gelu=layer.gelu), *layer.down), layer.feedforward_output_norm


def _attend(
    traits: AttentionTraits,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    invariant: bool,
) -> torch.Tensor:
    extras: dict[str, Any] = {"window": traits.window, "softcap": traits.softcap, "sinks": traits.sinks}
    if sequences.tiles is not None:
        return prefill_attention(queries, keys, values, sequences.table, sequences.tiles, traits.scaling, **extras)
    split = 256 if invariant else split_tokens(len(queries) * keys.shape[2])
    return decode_attention(
        queries, keys, values, sequences.table, sequences.lengths, traits.scaling, split_tokens=split, **extras
    )


def read_layer(
    layer: Any, shadow: Shadow, attention: AttentionTraits, offset_of: Any, *, rotary: int | None
) -> FusedLayer:
    """`layer` of a transformers decoder with its weights in `shadow`. Raises NotFusable for what it cannot read.

    Read by the names that transformers gives; whether the layer computes what its names say is for a trial to find
    (trial.py). `offset_of` gives what a norm adds to its weight, or None.
    """

    def part(owner: Any, name: str) -> Any:
        module = getattr(owner, name, None)
        if not isinstance(module, nn.Module):
            raise NotFusable(f"its {type(owner).__name__} has no {name}")
        refuse_hooks(module)
        return module

    def norm(owner: Any, name: str) -> Norm:
        module = part(owner, name)
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        offset = offset_of(module)
        if epsilon is None or offset is None:
            raise NotFusable(f"its {type(module).__name__} is not a plain root-mean-square norm")
        return Norm(shadow.vector(module), float(epsilon), offset)

    refuse_hooks(layer)
    attend, feed = part(layer, "self_attn"), part(layer, "mlp")
    has_head_norms = isinstance(getattr(attend, "q_norm", None), nn.Module)
    norms_branches = hasattr(layer, "pre_feedforward_layernorm")
    qkv = shadow.side_by_side([part(attend, name) for name in ("q_proj", "k_proj", "v_proj")])
    read = FusedLayer(
        qkv=qkv,
        output=shadow.side_by_side([part(attend, "o_proj")]),
        gate_up=shadow.side_by_side([part(feed, "gate_proj"), part(feed, "up_proj")]),
        down=shadow.side_by_side([part(feed, "down_proj")]),
        input_norm=norm(layer, "input_layernorm"),
        feedforward_norm=norm(layer, "pre_feedforward_layernorm" if norms_branches else "post_attention_layernorm"),
        query_norm=norm(attend, "q_norm") if has_head_norms else None,
        key_norm=norm(attend, "k_norm") if has_head_norms else None,
        attention_output_norm=norm(layer, "post_attention_layernorm") if norms_branches else None,
        feedforward_output_norm=norm(layer, "post_feedforward_layernorm") if norms_branches else None,
        heads=part(attend, "o_proj").in_features // int(attend.head_dim),
        gelu=is_gelu(part(feed, "act_fn"), qkv[0].device),
        attention=attention,
        rotary=rotary,
    )
    _check(read, int(attend.head_dim))
    return read


def _check(layer: FusedLayer, dim: int) -> None:
    """Raise NotFusable where one kernel has to do with one epsilon or offset, or with other shapes."""
    pairs = [
        (layer.input_norm, layer.attention_output_norm),
        (layer.feedforward_norm, layer.attention_output_norm),
        (layer.input_norm, layer.feedforward_output_norm),
        (layer.query_norm, layer.key_norm),
    ]
    for one, other in pairs:
        if one is not None and other is not None and (one.epsilon, one.offset) != (other.epsilon, other.offset):
            raise NotFusable("norms that run in one kernel differ in their epsilon")
    if layer.query_norm is not None and layer.query_norm.weight.numel() != dim:
        raise NotFusable("its query norm is not over single heads")
    if dim % 2 or dim > 256:
        raise NotFusable(f"its heads are {dim} wide; expected an even number up to 256")


def is_gelu(activation: nn.Module, device: torch.device) -> bool:
    """Whether `activation` is the tanh form of GELU; False for SiLU. Raises NotFusable for another one."""
    numbers = torch.linspace(-6, 6, 49, device=device)
    own = activation(numbers)
    if torch.allclose(own, functional.silu(numbers), atol=1e-5):
        return False
    if torch.allclose(own, functional.gelu(numbers, approximate="tanh"), atol=1e-5):
        return True
    raise NotFusable(f"its activation {type(activation).__name__} is neither SiLU nor the tanh form of GELU")
