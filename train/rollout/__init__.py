"""Rollouts: sampling completions from the model in training, behind one interface.

The public face of the engine (docs/rollout-engine.md). Importing this package imports no torch: the engine and the
other back ends are imported when their names are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from train.rollout.interface import FinishReason, Rollout, RolloutBackend, Sampling, Thinking

if TYPE_CHECKING:
    from train.rollout.backends.hf_generate import GenerateBackend
    from train.rollout.backends.vllm import VLLMBackend
    from train.rollout.engine import RolloutEngine
    from train.rollout.generation import RolloutStats
    from train.rollout.support import UnsupportedModel

__all__ = [
    "FinishReason",
    "GenerateBackend",
    "Rollout",
    "RolloutBackend",
    "RolloutEngine",
    "RolloutStats",
    "Sampling",
    "Thinking",
    "UnsupportedModel",
    "VLLMBackend",
]

_MODULES = {
    "GenerateBackend": "train.rollout.backends.hf_generate",
    "RolloutEngine": "train.rollout.engine",
    "RolloutStats": "train.rollout.generation",
    "UnsupportedModel": "train.rollout.support",
    "VLLMBackend": "train.rollout.backends.vllm",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` on first use. Raises AttributeError for any other."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
