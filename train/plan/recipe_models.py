"""The configurations of the models in our recipes, as their `config.json` gives them, so that a plan needs no hub."""

from typing import Any

_QWEN = {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True, "rms_norm_eps": 1e-6}


def _qwen2(
    hidden: int, layers: int, heads: int, key_heads: int, inner: int, context: int, **more: Any
) -> dict[str, Any]:
    return _QWEN | {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": inner,
        "max_position_embeddings": context,
        **more,
    }


RECIPE_MODELS: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 24, 14, 2, 4864, 32768),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 28, 12, 2, 8960, 131072),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 36, 16, 2, 11008, 32768),
    "Qwen/Qwen2.5-7B": _qwen2(3584, 28, 28, 4, 18944, 131072, vocab_size=152064, tie_word_embeddings=False),
    "Qwen/Qwen3-0.6B": _qwen2(1024, 28, 16, 8, 3072, 40960, model_type="qwen3", head_dim=128),
}
