"""The sizes of a model from nothing (`scratch`), and their checks. Imports no torch."""

from typing import Any

ARCHITECTURES = ("llama", "qwen3")
MOST = {  # more would be built for hours, or fill the memory of any machine
    "hidden_size": 16_384,
    "num_hidden_layers": 256,
    "num_attention_heads": 1_024,
    "num_key_value_heads": 1_024,
    "intermediate_size": 131_072,
    "max_position_embeddings": 10_000_000,
}
DEFAULTS: dict[str, Any] = {
    "architecture": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 384,
    "max_position_embeddings": 1024,
    "initializer_range": 0.06,
}


def check_scratch(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with their defaults. Raises ValueError naming an unknown key or a size that cannot be."""
    if unknown := set(settings) - set(DEFAULTS):
        raise ValueError(f"Unknown scratch setting {sorted(unknown)[0]!r}; expected one of: {', '.join(DEFAULTS)}.")
    full = DEFAULTS | settings
    if full["architecture"] not in ARCHITECTURES:
        raise ValueError(
            f"scratch.architecture is {full['architecture']!r}; expected one of: {', '.join(ARCHITECTURES)}."
        )
    for name, most in MOST.items():
        value = full[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"scratch.{name} is {value!r}; expected a whole number, 1 to {most:,}.")
    spread = full["initializer_range"]
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 < spread <= 1:
        raise ValueError(f"scratch.initializer_range is {spread!r}; expected a number, more than 0 and at most 1.")
    for many, few in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
        if full[many] % full[few]:
            raise ValueError(f"scratch.{many} is {full[many]}; expected a multiple of scratch.{few}, {full[few]}.")
    return full
