"""TRL's options: names and types as the dataclasses of TRL and transformers declare them, and the ranges that we know.

The declarations are read from the source, not imported: that takes 0.1 s in place of 8, so that a typo is refused at
once. `tests/train/config/test_trl_options.py` holds them against the dataclasses themselves.
"""

import ast
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from train.config.values import Option, Range, option
from train.rollout.interface import LEAST_TEMPERATURE

DECLARED = (  # in the order of inheritance
    ("transformers", "training_args.py", "TrainingArguments"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("trl", "trainer/grpo_config.py", "GRPOConfig"),
)
ENUMS = (("transformers", "training_args.py"), ("transformers", "trainer_utils.py"))
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")

COUNT = Range(least=1)
WHOLE = Range(least=0)
POSITIVE = Range(above=0)
SHARE = Range(least=0, most=1)
BATCH = Range(least=1, most=1_000_000)  # rows; more would be drawn for days
SEED = Range(least=0, below=2**32, words="0 to 4,294,967,295")
PORT = Range(least=1, most=65_535)
RANGES: dict[str, Range] = {
    "max_steps": Range(least=1, also=(-1,), words="1 or more, or -1 to count by num_train_epochs"),
    "num_train_epochs": Range(above=0, most=1_000_000),
    "dataloader_num_workers": Range(least=0, most=1_024),
    "pad_to_multiple_of": Range(least=1, most=65_536),
    "adam_beta1": Range(least=0, below=1),
    "adam_beta2": Range(least=0, below=1),
    "seed": SEED,
    "data_seed": SEED,
    "num_generations": Range(
        least=2, most=1_000_000, words="2 to 1,000,000, since a sample is held against the others of its group"
    ),
    "temperature": Range(least=LEAST_TEMPERATURE, words=f"at least {LEAST_TEMPERATURE:g}: RL samples"),
    "top_p": Range(above=0, most=1),
    "min_p": Range(least=0, below=1),
    "label_smoothing_factor": Range(least=0, below=1),
    "delta": Range(above=1, words="more than 1, since no token of a right answer would be learnt from below"),
    "vllm_gpu_memory_utilization": Range(above=0, most=1),
    "vllm_server_port": PORT,
    "vllm_group_port": PORT,
    **dict.fromkeys(("top_entropy_quantile", "ref_model_mixup_alpha"), SHARE),
    **dict.fromkeys(
        ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
         "steps_per_generation", "generation_batch_size", "num_generations_eval"),
        BATCH,
    ),
    **dict.fromkeys(
        ("max_completion_length",
         "num_iterations", "ref_model_sync_steps", "save_total_limit", "torch_empty_cache_steps",
         "eval_accumulation_steps", "dataloader_prefetch_factor", "ddp_bucket_cap_mb", "ddp_timeout",
         "vllm_max_model_length", "vllm_tensor_parallel_size", "num_completions_to_print"),
        COUNT,
    ),
    **dict.fromkeys(
        ("learning_rate", "weight_decay", "max_grad_norm", "warmup_steps", "eval_delay", "top_k",
         "beta", "epsilon", "epsilon_high", "entropy_coef", "entropy_coef_min",
         "entropy_coef_max", "entropy_coef_delta", "entropy_target", "off_policy_mask_threshold",
         "router_aux_loss_coef", "neftune_noise_alpha"),
        WHOLE,
    ),
    **dict.fromkeys(
        ("logging_steps", "eval_steps", "save_steps", "repetition_penalty", "sapo_temperature_neg",
         "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg",
         "adam_epsilon", "vllm_server_timeout", "vllm_importance_sampling_clip_max",
         "vllm_importance_sampling_clip_min"),
        POSITIVE,
    ),
}  # fmt: skip
CHOICES: dict[str, tuple[str, ...]] = {
    "loss_type": LOSSES,
    "pad_to_multiple_of": ("auto", "none"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("colocate", "server"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
    "log_level": ("debug", "info", "warning", "error", "critical", "passive"),
    "log_level_replica": ("debug", "info", "warning", "error", "critical", "passive"),
    "ddp_backend": ("nccl", "gloo", "mpi", "ccl", "hccl", "cncl", "mccl"),
    "dataloader_multiprocessing_context": ("fork", "spawn", "forkserver"),
    "include_num_input_tokens_seen": ("all", "non_padding", "no"),
    "torch_compile_backend": ("inductor", "eager", "aot_eager", "cudagraphs", "onnxrt", "tensorrt", "tvm"),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}
MAPPINGS = (  # which TRL also takes as JSON text; other text would be lost
    "lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "chat_template_kwargs", "model_init_kwargs",
)  # fmt: skip
REQUIRED = ("num_generations", "max_completion_length")  # null is allowed by type and means nothing


@cache
def trl_options() -> dict[str, Option]:
    """Every option of TRL's GRPOConfig, by name."""
    enums = _enums()
    options = {}
    for name, annotation in _annotations().items():
        choices = next((values for kind, values in enums.items() if kind in annotation), ())
        metadata: dict[str, Any] = {"range": RANGES.get(name), "choices": CHOICES.get(name)}
        if name in REQUIRED:
            metadata["optional"] = False
        if name == "scale_rewards":  # which TRL takes as a truth value too
            annotation = f"bool | {annotation}"
        options[name] = option(name, annotation, metadata, choices)
        if name in MAPPINGS:
            options[name] = replace(options[name], kinds=("mapping",))
    return options


@cache
def _annotations() -> dict[str, str]:
    """The declared fields of GRPOConfig and what it inherits, with their types as they are written."""
    annotations: dict[str, str] = {}
    for package, file, kind in DECLARED:
        for node in _class(package, file, kind).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                annotation = node.annotation
                text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
                if "ClassVar" not in str(text) and not _is_hidden(node):
                    annotations[node.target.id] = str(text)
    return annotations


def _is_hidden(node: ast.AnnAssign) -> bool:
    """Whether a field is not an argument: `field(init=False)`."""
    keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
    return any(each.arg == "init" and ast.unparse(each.value) == "False" for each in keywords)


def _enums() -> dict[str, tuple[str, ...]]:
    """The words of transformers' enumerations, by the name of the class."""
    words = {}
    for package, file in ENUMS:
        for node in _module(package, file).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "ExplicitEnum" for base in node.bases):
                words[node.name] = tuple(
                    str(each.value.value)
                    for each in node.body
                    if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
                )
    return words


@cache
def _module(package: str, file: str) -> ast.Module:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{package} is not installed; install the project with: pip install -e .")
    return ast.parse((Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8"))


def _class(package: str, file: str, name: str) -> ast.ClassDef:
    return next(node for node in _module(package, file).body if isinstance(node, ast.ClassDef) and node.name == name)
