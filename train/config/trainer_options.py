"""What a `ReasoningTrainer` refuses: options of a GRPOTrainer that our rollouts would ignore without a word."""

from collections.abc import Mapping
from typing import Any

from transformers import ProcessorMixin
from trl import GRPOConfig

# Options that shape TRL's own generation alone, with the value that asks for nothing. TRL's vLLM path obeys the first.
SAMPLING = {"repetition_penalty": 1.0, "generation_kwargs": None}
GENERATION = {"use_transformers_continuous_batching": False, "cache_implementation": None}
LOADING = {"model_init_kwargs": None, "trust_remote_code": False}  # of a model that is loaded already
IMAGES = ("image", "images")


def check_trainer(args: GRPOConfig | None, model: Any, others: Mapping[str, Any], *, thinking: bool) -> None:
    """Raise ValueError naming the first option that would have no effect, or another than TRL's.

    `args`, `model` and `others` are what a GRPOTrainer is built from; `thinking` says that thinking has a budget.
    """
    if args is not None:
        refused = GENERATION if args.use_vllm else SAMPLING | GENERATION
        for name, nothing in refused.items():
            _refuse(args, name, nothing, "completions do not come from TRL's generate")
        if not isinstance(model, str):
            for name, nothing in LOADING.items():
                _refuse(args, name, nothing, "the model is loaded already; give it where you load the model")
    if thinking and (tools := next((name for name in ("tools", "environment_factory") if others.get(name)), None)):
        raise ValueError(
            f"{tools} is set beside a thinking budget, but what a tool writes and what the engine writes cannot both "
            "be left out of the loss; leave one of them out."
        )
    if isinstance(others.get("processing_class"), ProcessorMixin):
        raise ValueError(
            f"processing_class is {type(others['processing_class']).__name__}, but rollouts see text alone; give its "
            "tokenizer, for a model of text."
        )
    for kind in ("train_dataset", "eval_dataset"):
        columns = getattr(others.get(kind), "column_names", None) or ()
        if column := next((name for name in IMAGES if name in columns), None):
            raise ValueError(f"{kind} has a column {column!r}, but rollouts see text alone; leave the column out.")


def _refuse(args: GRPOConfig, name: str, nothing: Any, reason: str) -> None:
    value = getattr(args, name)
    if value not in (nothing, {}):
        raise ValueError(f"{name} is {value!r}, which would have no effect: {reason}. Leave it at {nothing!r}.")
