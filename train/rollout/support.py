"""Which models the engine can run: one short forward of the model decides."""

import traceback
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from train.rollout.dense.attention import NoPass
from train.rollout.dense.pool import LayerShape
from train.rollout.module_state import attention_configs, base_model, engine_mode
from train.rollout.schedule.requests import longest_sequence

_PROBE_TOKENS = 3
INSTEAD = "Use the `generate` back end."
OVER_PAGES = ("softcap", "s_aux")  # soft-capping and sinks, which attention over pages computes and the dense path not


class UnsupportedModel(ValueError):
    """A model that the engine cannot run; the message names the model and the reason."""


def text_config(model: torch.nn.Module) -> PreTrainedConfig:
    """The configuration of `model`'s language model."""
    configs = attention_configs(model)
    if not configs:
        raise UnsupportedModel(f"{type(model).__name__} is not a transformers model: no module of it has a config.")
    return configs[0].get_text_config(decoder=True)


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence of prompt and completion that `model` can be sampled to."""
    return longest_sequence(text_config(model))


def model_name(model: torch.nn.Module) -> str:
    """The model's class and family, for messages; that of the base model where an adapter is on it."""
    base = base_model(model)
    return f"{type(base).__name__} ({text_config(model).model_type})"


def probe(model: torch.nn.Module, *, paged: bool = False) -> list[LayerShape]:
    """Run three tokens through `model` and return what each attention layer keeps, in a dense pool or in pages.

    Raises UnsupportedModel for an encoder-decoder, for layers that keep a recurrent state instead of keys and values,
    for attention with features that the engine does not compute, and for adapters that change the sequence.
    """
    config = text_config(model)
    name = model_name(model)
    refuse_adapters(model)
    if config.is_encoder_decoder:
        raise UnsupportedModel(f"{name} is an encoder-decoder; the rollout engine runs causal language models only.")
    recorder = _ShapeRecorder(paged)
    device = next(model.parameters()).device
    try:
        with engine_mode(model):
            model(
                input_ids=torch.zeros(1, _PROBE_TOKENS, dtype=torch.int64, device=device),
                position_ids=torch.arange(_PROBE_TOKENS, device=device).unsqueeze(0),
                use_cache=False,
                logits_to_keep=1,
                rollout_pass=recorder,
            )
    except torch.OutOfMemoryError:
        raise
    except NotImplementedError as error:
        raise UnsupportedModel(f"The rollout engine cannot run {name}: {error}. {INSTEAD}") from error
    except Exception as error:  # whatever comes of code that expects another attention function
        raise UnsupportedModel(f"The rollout engine cannot run {name}: {_foreign(model, error)}. {INSTEAD}") from error
    seen_layers = recorder.layers
    layers = config.num_hidden_layers
    missing = sorted(set(range(layers)) - set(seen_layers))
    if missing:
        raise UnsupportedModel(
            f"{name}: {len(missing)} of {layers} layers (the first is layer {missing[0]}) have no attention that "
            "transformers' AttentionInterface reaches: they attend in code of their own, or keep a state (linear "
            f"attention, state-space layers) that the key-value pool cannot hold. {INSTEAD}"
        )
    return [seen_layers[layer] for layer in range(layers)]


def refuse_adapters(model: torch.nn.Module) -> None:
    """Raise UnsupportedModel for an adapter that adds tokens to the sequence or depends on tokens in it. Such a model
    changes with the length, so neither the engine nor merged weights can replace it.
    """
    configs = getattr(model, "peft_config", None) or {}
    for name, config in configs.items():
        kind = getattr(config.peft_type, "value", config.peft_type)
        if config.is_prompt_learning or config.is_adaption_prompt:
            reason = f"kind {kind}, which puts learnt tokens or keys before the prompt"
        elif getattr(config, "alora_invocation_tokens", None):
            reason = "kind activated LoRA, which is at work behind its invocation tokens alone"
        else:
            continue
        raise UnsupportedModel(
            f"{model_name(model)}: its adapter {name!r} is of {reason}. The rollout engine and merged weights cannot "
            "stand in for it; use an adapter on the weights, such as plain LoRA, or the `generate` back end."
        )


def _foreign(model: torch.nn.Module, error: Exception) -> str:
    """Why the code of `model` failed in a forward with the engine's attention, in words."""
    if isinstance(error, NoPass):
        return "its decoder does not hand the engine's keyword arguments down to attention"
    behind = traceback.extract_tb(error.__traceback__)[-1]
    fault = f"{type(error).__name__} in {Path(behind.filename).name}, {behind.name}: {error}"
    base = base_model(model)
    if not getattr(base, "_supports_attention_backend", False):
        return f"transformers gives this family no exchangeable attention function ({fault})"
    return f"its code does not run with the engine's attention function ({fault})"


class _ShapeRecorder:
    """Stands in for a pass: records the shapes it is called with and returns zeros."""

    def __init__(self, paged: bool) -> None:
        self.layers: dict[int, LayerShape] = {}
        self._paged = paged

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """Record one layer; raises NotImplementedError for features that the pass to come lacks."""
        uses = [name for name in (*OVER_PAGES, "position_bias") if options.get(name) is not None]
        for feature in uses:
            if not self._paged or feature not in OVER_PAGES:
                where = " on a CPU" if feature in OVER_PAGES else ""
                raise NotImplementedError(f"its attention uses {feature}, which the engine does not compute{where}")
        window = options.get("sliding_window")
        self.layers[layer] = LayerShape(
            key.shape[1], key.shape[3], value.shape[3], key.dtype, value.dtype, window, plain=not uses
        )
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])
