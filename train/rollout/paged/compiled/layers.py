"""Layers of any family through `torch.compile`: one graph for all layers and all numbers of tokens.

Each layer's forward is compiled by itself, whole (`fullgraph`) and for any number of tokens (`dynamic`). Attention is
one operator that the compiler does not look into. All layers run the same code, so they share one graph if nothing in
it names a layer: which layer calls is handed down as the value of a small tensor, and weights are inputs of the graph.
So an update of the weights in place is seen, and layers that differ, such as some with a window, take a graph of each
kind.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx.experimental import _config as fx_config
from transformers import AttentionInterface

from train.rollout.dense.attention import Attends, NoPass
from train.rollout.module_state import attention_configs, base_model

COMPILED_ATTENTION = "rethink_compiled"
BACKEND: str | Callable[..., Any] = "inductor"

# The pass that the layers attend in. The operator reads it here: whatever is an argument becomes part of the graph.
_current_pass: list[Attends] = []


@torch.library.custom_op("rethink::attend", mutates_args=())
def attend_in_pass(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layer: torch.Tensor,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of the current pass; `layer` () int64 on the host is the layer's number. Shapes as in `Attends`."""
    options = {"softcap": softcap, "s_aux": sinks}
    return _current_pass[-1].attend(int(layer), query, key, value, scaling, options).contiguous()


@attend_in_pass.register_fake
def _(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layer: torch.Tensor,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])


def compiled_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    rollout_layer: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in a compiled layer. `rollout_layer` travels through the layer's keyword arguments."""
    if rollout_layer is None:
        raise NoPass("a layer's attention was called without its number")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend_in_pass(query, key, value, rollout_layer, scale, options.get("softcap"), options.get("s_aux")), None


AttentionInterface.register(COMPILED_ATTENTION, compiled_attention)


class NotCompilable(ValueError):
    """A model whose layers are not compiled; the message says why."""


class CompiledLayers:
    """Stands in for `model`: the same module, its layers compiled, each at its first call.

    Raises NotCompilable where it has no list of `count` layers.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        self.model = model
        self.layers = read_layers(model, count)
        self._forwards = [
            functools.partial(
                torch.compile(layer.forward, backend=BACKEND, fullgraph=True, dynamic=True),
                rollout_layer=torch.tensor(number),
            )
            for number, layer in enumerate(self.layers)
        ]

    def __call__(self, *, rollout_pass: Attends, **inputs: Any) -> Any:
        """What the model gives for `inputs`, in `rollout_pass`."""
        # Else torch would compile anew for a single token, as it does for any size of 1.
        with self._attending(rollout_pass), fx_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            return self.model(**inputs)

    @contextmanager
    def _attending(self, this_pass: Attends) -> Iterator[None]:
        """Have the module run its compiled layers, in `this_pass`; all is put back whatever happens."""
        configs = attention_configs(self.model)
        attentions = [config._attn_implementation_internal for config in configs]
        own = [layer.__dict__.get("forward") for layer in self.layers]
        _current_pass.append(this_pass)
        try:
            for config in configs:
                config._attn_implementation_internal = COMPILED_ATTENTION
            for layer, compiled in zip(self.layers, self._forwards, strict=True):
                layer.__dict__["forward"] = compiled
            yield
        finally:
            _current_pass.pop()
            for layer, forward in zip(self.layers, own, strict=True):
                layer.__dict__.pop("forward") if forward is None else layer.__dict__.update(forward=forward)
            for config, attention in zip(configs, attentions, strict=True):
                config._attn_implementation_internal = attention


def read_layers(model: nn.Module, count: int) -> Sequence[nn.Module]:
    """The decoder's `count` layers. Raises NotCompilable where no list of modules holds as many."""
    for module in base_model(model).modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise NotCompilable(f"it has no list of {count} layers")
