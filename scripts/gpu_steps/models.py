"""The models that steps are timed with: random weights, from configurations, so that nothing has to be fetched."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

LORA_RANK = 16


def smollm2() -> PreTrainedModel:
    """SmolLM2-135M."""
    size: dict[str, Any] = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads: dict[str, Any] = {"num_attention_heads": 9, "num_key_value_heads": 3}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True, **size, **heads)
    )


def qwen(hidden: int, inner: int, layers: int, heads: int) -> PreTrainedModel:
    """A Qwen2.5 with 2 key heads."""
    size: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151936,
            max_position_embeddings=32768,
            num_attention_heads=heads,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            **size,
        )
    )


def tiny() -> PreTrainedModel:
    """A model small enough for the interpreter."""
    size: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, max_position_embeddings=8192, **size, **heads))


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2.5-1.5b": lambda: qwen(1536, 8960, 28, 12),
    "smollm2-135m": smollm2,
    "qwen2.5-0.5b": lambda: qwen(896, 4864, 24, 14),
}
# How weights are kept: in bf16; in float32 under bf16 autocast, as is trained; and so with LoRA on every linear layer.
WEIGHTS = ("bf16", "autocast", "LoRA")


def build(name: str, weights: str, device: torch.device) -> torch.nn.Module:
    """A model with random weights; LoRA's do something already."""
    torch.manual_seed(0)
    with device:
        model = tiny() if name == "tiny" else MODELS[name]()
    model = model.eval().to(device, torch.bfloat16 if weights == "bf16" else torch.float32)
    if weights != "LoRA":
        return model
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=LORA_RANK, target_modules="all-linear"))
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.01)
    return adapted.eval()


class LastModel:
    """Builds models, and keeps the last one only: two together may not fit on the card."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._key: tuple[str, str] | None = None
        self._model: torch.nn.Module | None = None

    def __call__(self, name: str, weights: str) -> torch.nn.Module:
        """The model `name` with `weights`."""
        if self._model is None or self._key != (name, weights):
            self.drop()  # before the next one takes its memory
            self._model, self._key = build(name, weights, self.device), (name, weights)
        return self._model

    def drop(self) -> None:
        """Give its memory back."""
        self._model = None


def left_out() -> dict[str, str]:
    """The weights that cannot be timed here, and why."""
    if find_spec("peft") is None:
        return {"LoRA": "peft is not installed"}
    return {}


def precision(weights: str, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast that such weights are computed under."""
    if weights in ("autocast", "LoRA"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
