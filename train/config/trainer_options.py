"""What a `ReasoningTrainer` refuses: options, its own and a GRPOTrainer's, that would be silently ignored."""

from collections.abc import Mapping
from typing import Any

from transformers import ProcessorMixin
from trl import GRPOConfig

from train.config.run_config import BACKENDS, CORRECTIONS
from train.rollout.interface import Sampling
from train.rollout.limits import Limits

# Options that shape TRL's own generation alone, with the value that asks for nothing. TRL's vLLM path obeys the first.
SAMPLING = {"repetition_penalty": 1.0, "generation_kwargs": None}
GENERATION = {
    "use_transformers_continuous_batching": False,
    "transformers_continuous_batching_config": None,
    "cache_implementation": None,
}
LOADING = {"model_init_kwargs": None, "trust_remote_code": False}  # of a model that is loaded already
IMAGES = ("image", "images")


def check_trainer(args: GRPOConfig | None, model: Any, others: Mapping[str, Any], *, thinking: bool) -> None:
    """Raise ValueError for the first option that would have no effect, or an effect other than TRL's.

    `args`, `model` and `others` are what a GRPOTrainer is built from; `thinking` says that thinking has a budget.
    """
    if args is not None:
        options = GENERATION if args.use_vllm else SAMPLING | GENERATION
        for name, nothing in options.items():
            _refuse(args, name, nothing, "completions do not come from TRL's generate")
        if not isinstance(model, str):
            for name, nothing in LOADING.items():
                _refuse(args, name, nothing, "the model is loaded already; give it where you load the model")
    if others.get("rollout_func") is not None:
        raise ValueError("rollout_func is set, but rollouts come from the back end; leave it out.")
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
        choice = others.get(kind)
        for dataset in choice.values() if isinstance(choice, Mapping) else [choice]:
            columns = getattr(dataset, "column_names", None) or ()
            if column := next((name for name in IMAGES if name in columns), None):
                raise ValueError(f"{kind} has a column {column!r}, but rollouts see text alone; leave the column out.")


def check_rollouts(args: GRPOConfig, backend: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where the back end cannot draw as `args` say, or would ignore one of our `settings`.

    `settings` are cache_gib, max_rows, thinking and rollout_correction; None, and "none", ask for nothing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of: {', '.join(BACKENDS)}.")
    if settings["rollout_correction"] not in CORRECTIONS:
        raise ValueError(
            f"rollout_correction is {settings['rollout_correction']!r}; expected one of: {', '.join(CORRECTIONS)}."
        )
    if backend == "vllm" and not args.use_vllm:
        raise ValueError("backend is vllm, but use_vllm is not set in the arguments, which asks TRL for it; set it.")
    backend = "vllm" if args.use_vllm else backend
    if backend != "engine":
        for name, value in settings.items():
            if value not in (None, "none"):
                raise ValueError(f"{name} is set, but backend is {backend}, which would ignore it; leave it out.")
    if backend != "vllm":
        Limits(cache_gib=settings["cache_gib"], max_rows=1 if settings["max_rows"] is None else settings["max_rows"])
        if args.max_completion_length is None:
            raise ValueError("max_completion_length is None; expected how many tokens a completion may have.")
        Sampling(args.max_completion_length, (), args.temperature, args.top_p, args.top_k, args.min_p or 0.0)


def _refuse(args: GRPOConfig, name: str, nothing: Any, reason: str) -> None:
    value = getattr(args, name)
    if value not in (nothing, {}):
        raise ValueError(f"{name} is {value!r}, which would have no effect: {reason}. Leave it at {nothing!r}.")
