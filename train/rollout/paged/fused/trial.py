"""Fused layers are accepted only where a trial equals the module: every layer, in float32, on numbers of its own.

One forward of the live model says what each layer is called with. A copy of each layer in float32 then runs with that,
with its norms, biases and idle adapters moved off their starting values, beside the fused layer over the same weights.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from train.rollout.dense.fused import norm_offset
from train.rollout.module_state import engine_mode
from train.rollout.paged.attention import Sequences
from train.rollout.paged.fused.layers import AttentionTraits, FusedLayer, Stream, Tokens, read_layer, run_layer
from train.rollout.paged.fused.shadow import NotFusable, Shadow
from train.rollout.triton_kernels.tiles import tiles_of

COUNT = 5  # tokens of the trial
# Largest share of the logits' spread by which a whole model may differ: rounding alone, through all layers.
WHOLE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.15}
_CLOSE = 2e-3  # of the largest change that a layer makes: float32 through tf32 products, where somebody allowed them


@dataclass(slots=True)
class Call:
    """What one decoder layer was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class Seen:
    """What one forward of the live model showed."""

    calls: list[Call] = field(default_factory=list)
    attention: dict[int, AttentionTraits] = field(default_factory=dict)
    rotary: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)  # output, arguments
    normed: torch.Tensor | None = None  # (tokens, width) what the head reads
    logits: torch.Tensor | None = None  # (tokens, vocab)


class CausalAttention:
    """Stands in for a pass: plain causal attention over the tokens of one forward."""

    def __init__(self, seen: dict[int, AttentionTraits] | None = None) -> None:
        self.seen = seen

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """See `Attends`."""
        window, softcap, sinks = (options.get(name) for name in ("sliding_window", "softcap", "s_aux"))
        if self.seen is not None:
            self.seen[layer] = AttentionTraits(float(scaling), window, softcap, sinks)
        groups = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        scores = (query.float() @ key.float().transpose(2, 3)) * scaling  # (1, heads, tokens, tokens)
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        at = torch.arange(query.shape[2], device=query.device)
        hidden = at[None, :] > at[:, None]
        if window is not None:
            hidden |= at[None, :] <= at[:, None] - window
        scores = scores.masked_fill(hidden, float("-inf"))
        if sinks is not None:
            column = sinks.float().view(1, -1, 1, 1).expand(1, -1, scores.shape[2], 1)
            scores = torch.cat([scores, column], -1)
        weights = scores.softmax(-1)[..., : key.shape[2]]
        return (weights @ value.float()).to(query.dtype).transpose(1, 2)


@dataclass(slots=True)
class Decoder:
    """The parts of a causal language model that a fused forward replaces."""

    causal: Any
    embedding: nn.Embedding
    layers: list[nn.Module]
    rotary: nn.Module
    norm: nn.Module
    head: nn.Module


def read_decoder(model: Any) -> Decoder:
    """The parts of `model`, adapters or not. Raises NotFusable where one is missing."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner = getattr(causal, "model", None)
    parts: list[Any] = [getattr(inner, name, None) for name in ("embed_tokens", "layers", "rotary_emb", "norm")]
    if not all(isinstance(part, nn.Module) for part in parts) or causal.get_output_embeddings() is None:
        raise NotFusable(f"{type(causal).__name__} is not laid out like a Llama")
    embedding, layers, rotary, norm = parts
    if not isinstance(embedding, nn.Embedding):
        raise NotFusable("its embedding is adapted")
    return Decoder(causal, embedding, list(layers), rotary, norm, causal.get_output_embeddings())


def trial_tokens(vocab: int, device: torch.device) -> torch.Tensor:
    """(1, COUNT) tokens spread over the vocabulary."""
    return (torch.arange(1, COUNT + 1, device=device) * max(1, vocab // (COUNT + 2))).unsqueeze(0) % vocab


def look(model: Any, decoder: Decoder) -> Seen:
    """Run a few tokens through the live model and note what its parts are called with and give."""
    seen, device = Seen(), decoder.embedding.weight.device
    with engine_mode(model), _hooks(decoder, seen):
        output = model(
            input_ids=trial_tokens(decoder.embedding.num_embeddings, device),
            position_ids=torch.arange(COUNT, device=device).unsqueeze(0),
            use_cache=False,
            rollout_pass=CausalAttention(seen.attention),
        )
    seen.logits = output.logits[0]
    return seen


@contextmanager
def _hooks(decoder: Decoder, seen: Seen) -> Iterator[None]:
    def of_layer(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.calls.append(Call(tuple(map(_kept, args)), {name: _kept(value) for name, value in kwargs.items()}))

    def of_rotary(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        seen.rotary.append((output, args, kwargs))

    def of_norm(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        seen.normed = output[0]

    handles = [layer.register_forward_pre_hook(of_layer, with_kwargs=True) for layer in decoder.layers]
    handles.append(decoder.rotary.register_forward_hook(of_rotary, with_kwargs=True))
    handles.append(decoder.norm.register_forward_hook(of_norm))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kept(value: Any) -> Any:
    """`value`, copied if it is a residual stream that later layers might add to in place."""
    return value.clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def hidden_of(call: Call) -> torch.Tensor:
    """(tokens, width) the hidden states that a layer was called with."""
    return (call.args[0] if call.args else call.kwargs["hidden_states"])[0]


def table_number(call: Call, seen: Seen) -> int:
    """Which call of the rotary embedding gave the cosines that a layer got. Raises NotFusable if none did."""
    cosines = call.kwargs.get("position_embeddings")
    for number, (output, _, _) in enumerate(seen.rotary):
        if isinstance(cosines, tuple) and cosines[0] is output[0]:
            return number
    raise NotFusable("its layers do not share the cosines of a rotary embedding")


def try_layers(model: Any, decoder: Decoder, seen: Seen, shadow_merges: bool) -> list[int | None]:
    """Hold every fused layer against its module; the number of its rotary table for each, None without positions.

    Raises NotFusable with the first layer that differs.
    """
    rotary: list[int | None] = []
    device = decoder.embedding.weight.device
    offset_of = offsets()
    with torch.no_grad(), torch.autocast(device.type, enabled=False), engine_mode(model):
        for number, (layer, call) in enumerate(zip(decoder.layers, seen.calls, strict=True)):
            table = table_number(call, seen)
            twin = _moved(copy.deepcopy(layer).float())
            expected = _run_module(twin, call)
            choices: list[int | None] = [table, None]
            if not getattr(layer.self_attn, "use_rope", True):
                choices.reverse()
            gaps = {}
            for choice in choices:
                gaps[choice] = _gap(twin, call, choice, seen.attention[number], shadow_merges, offset_of, expected)
                if gaps[choice] <= _CLOSE:
                    rotary.append(choice)
                    break
            else:
                raise NotFusable(f"its layer {number} differs by {min(gaps.values()):.1e} from the fused one")
    return rotary


def offsets() -> Callable[[nn.Module], float | None]:
    """What a norm adds to its weight (1 for Gemma), tried once for each kind of norm."""
    kinds: dict[type, float | None] = {}

    def of(module: nn.Module) -> float | None:
        if type(module) not in kinds:
            kinds[type(module)] = norm_offset(module, functional.rms_norm)
        return kinds[type(module)]

    return of


def _moved(layer: nn.Module) -> nn.Module:
    """`layer` with what training has perhaps not moved yet moved: ones, zeros, and adapters that do nothing."""
    for number, parameter in enumerate(layer.parameters()):
        if parameter.dim() == 1 or not bool(parameter.any()):
            wave = torch.arange(parameter.numel(), device=parameter.device, dtype=torch.float32).add_(number).sin_()
            parameter.data.add_(wave.view(parameter.shape), alpha=0.1)
    return layer


def _run_module(layer: nn.Module, call: Call) -> torch.Tensor:
    """(tokens, width) what the module itself gives, in float32."""

    def exact(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(exact, value))
        return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    kwargs = {name: exact(value) for name, value in call.kwargs.items()} | {"rollout_pass": CausalAttention()}
    output = layer(*map(exact, call.args), **kwargs)
    return (output[0] if isinstance(output, tuple) else output)[0]


def _gap(
    twin: nn.Module,
    call: Call,
    rotary: int | None,
    attention: AttentionTraits,
    merges: bool,
    offset_of: Callable[[nn.Module], float | None],
    expected: torch.Tensor,
) -> float:
    """The largest difference between the fused layer and the module, of prefill and of decoding, relative."""
    hidden = hidden_of(call).float()
    shadow = Shadow(torch.float32, hidden.device, merges=merges)
    layer = read_layer(twin, shadow, attention, offset_of, rotary=None if rotary is None else 0)
    shadow.refresh()
    tables = [tuple(part[0].float().contiguous() for part in call.kwargs["position_embeddings"])]
    pages = trial_pages(layer, hidden.device)
    together = _added(layer, hidden, trial_prompt(hidden.device), pages, tables)
    alone = _added(layer, hidden[-1:], trial_token(hidden.device), pages, tables)
    scale = float((expected - hidden).abs().max())
    gaps = [float((together - expected).abs().max()), float((alone - expected[-1:]).abs().max())]
    return max(gaps) / max(scale, 1e-12) if np.isfinite(gaps).all() else float("inf")


def _added(
    layer: FusedLayer, hidden: torch.Tensor, tokens: Tokens, pages: tuple[torch.Tensor, torch.Tensor], tables: Any
) -> torch.Tensor:
    stream = Stream(hidden.clone().contiguous())
    run_layer(layer, stream, tokens, *pages, tables)
    stream.normed(layer.input_norm, torch.float32)  # adds what is left to add
    return stream.hidden


def trial_pages(layer: FusedLayer, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of two pages, full of NaN."""
    dim = layer.output[0].shape[1] // layer.heads
    key_heads = (layer.qkv[0].shape[0] // dim - layer.heads) // 2
    pages = torch.full((2, 2, 16, key_heads, dim), float("nan"), dtype=layer.qkv[0].dtype, device=device)
    return pages[0], pages[1]


def trial_prompt(device: torch.device) -> Tokens:
    """The COUNT tokens of the trial as a prompt on page 1."""
    at = torch.arange(COUNT, device=device)
    return Tokens(at, at + 16, _sequences(device, tiles=True))


def trial_token(device: torch.device) -> Tokens:
    """The last of them as a decode step."""
    at = torch.tensor([COUNT - 1], device=device)
    return Tokens(at, at + 16, _sequences(device, tiles=False))


@functools.lru_cache(maxsize=4)
def _sequences(device: torch.device, *, tiles: bool) -> Sequences:
    count = torch.tensor([COUNT], dtype=torch.int32, device=device)
    numbers = tiles_of(np.array([COUNT]), np.array([COUNT]))
    return Sequences(
        table=torch.tensor([[1]], dtype=torch.int32, device=device),
        lengths=count,
        query_starts=count,
        key_starts=count,
        query_lengths=[COUNT] if tiles else None,
        tiles=torch.from_numpy(numbers).to(device) if tiles else None,
    )
