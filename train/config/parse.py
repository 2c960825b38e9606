"""A run's configuration: one YAML file and the command line, every option of TRL's GRPOConfig included."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from trl import GRPOConfig

from data.terminal import first_line
from train.config.arguments import Values, read_values
from train.config.option_checks import check_groups, check_options
from train.config.run_config import RunConfig, world_size
from train.expert_iteration import OPTIONS

# Where our defaults differ from TRL's. One update a batch, centred advantages, a fixed length normaliser and no
# reference model: the settings under which the small recipes learnt and did not collapse.
RL_DEFAULTS: dict[str, Any] = {
    "loss_type": "dr_grpo",
    "scale_rewards": "none",
    "beta": 0.0,
    "temperature": 1.0,
    # Cut off, a rollout scores 0 like any other that is wrong. Masked, it costs nothing, and loops grow: in the earlier
    # quickstart from 1 to 18% of the rollouts.
    "mask_truncated_completions": False,
    "num_generations": 16,
    "per_device_train_batch_size": 16,
    "num_generations_eval": 1,
    "max_completion_length": 512,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant_with_warmup",
    "logging_steps": 1,
    "save_strategy": "steps",
    "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    "report_to": "tensorboard",
    "log_level": "error",
    "remove_unused_columns": False,
    "disable_tqdm": True,  # our own bar shows what matters in RL
    "vllm_importance_sampling_mode": "token_truncate",  # TRL's masks long completions whole
    "ddp_find_unused_parameters": False,  # there are none, and looking for them costs a walk of the graph
    "gradient_checkpointing": False,  # a second forward that small models do not need
}
# Follow from other options, so a saved configuration leaves them out.
DERIVED = ("output_dir", "use_vllm", "generation_batch_size")


def parse_config(arguments: Sequence[str] | None = None) -> tuple[RunConfig, GRPOConfig]:
    """Read `--config FILE` and the command line, which overrides the file.

    Raises ValueError with one clear line for an unknown key, a value out of range, or groups that would span ranks.
    """
    words = list(arguments) if arguments is not None else sys.argv[1:]
    return configure(read_values(words))


def configure(values: Values) -> tuple[RunConfig, GRPOConfig]:
    """Build the configuration from checked values. Raises ValueError with one clear line."""
    run, training = values.run, _training(values.trl)
    if training.use_vllm:
        raise ValueError("use_vllm is set by the back end; leave it out and set backend: vllm.")
    training.use_vllm = run.backend == "vllm"
    if run.method == "rft":
        if training.loss_type not in (RL_DEFAULTS["loss_type"], OPTIONS["loss_type"]) or training.beta:
            raise ValueError(
                f"method is rft, whose loss is the cross-entropy of what was accepted; leave out loss_type "
                f"({training.loss_type}) and beta ({training.beta})."
            )
        vars(training).update(OPTIONS)
    if training.use_cpu:  # which is no faster in bf16
        training.bf16, training.mixed_precision = False, "no"
    if not torch.accelerator.is_available():  # there is no device to pin memory for, and torch would warn of it
        training.dataloader_pin_memory = False
    training.output_dir = str(run.folder / "checkpoints")
    # A batch larger than its share of the validation rollouts would be filled up with copies of them.
    share = max(1, -(-run.validation_problems // world_size())) * (training.num_generations_eval or 1)
    training.per_device_eval_batch_size = min(training.per_device_eval_batch_size, share)
    check_options(run, training)
    check_groups(training)
    return run, training


def _training(values: dict[str, Any]) -> GRPOConfig:
    """Build TRL's configuration. Raises ValueError in one line, with our advice where TRL's would not help a user."""
    defaults = RL_DEFAULTS | {"bf16": False} if values.get("fp16") else RL_DEFAULTS  # it is one or the other
    betas = {name: float(values[name]) for name in ("adam_beta1", "adam_beta2") if name in values}  # torch takes no 0
    try:
        return GRPOConfig(**(defaults | values | betas))
    except ImportError as error:
        raise ValueError(f"An option asks for a package that is not installed: {first_line(error)}") from None
    except ValueError as error:
        if "divisible by num_generations" in str(error):
            raise ValueError(
                f"{first_line(error)} It is per_device_train_batch_size * steps_per_generation * processes, and "
                "steps_per_generation is gradient_accumulation_steps unless set: make that a multiple of "
                "num_generations."
            ) from None
        if not any(words in str(error) for words in ("assigned backend", "Default process group")):
            reason = " ".join(str(error).split())
            raise ValueError(reason if any(name in reason for name in values) else _culprit(values, reason)) from None
        # accelerate's words do not name the option.
        raise ValueError(f"ddp_backend does not go together with this launch ({error}); leave it out.") from None
    except (TypeError, KeyError, AttributeError, OSError) as error:
        raise ValueError(_culprit(values, first_line(error))) from None


def _culprit(values: dict[str, Any], reason: str) -> str:
    """`reason` with the option that causes it, since TRL's own message does not always name it."""
    for name, value in values.items():
        try:
            GRPOConfig(**(RL_DEFAULTS | {each: values[each] for each in values if each != name}))
        except Exception:  # whatever TRL and accelerate raise, it is not this option alone
            continue
        return f"{name} is {value!r}, which TRL does not take: {reason.rstrip('.')}."
    return f"An option of TRL has a value that it does not take: {reason.rstrip('.')}."


def resolved(run: RunConfig, training: GRPOConfig) -> dict[str, Any]:
    """The configuration for `config.yaml`: all of our options, and those of TRL that differ from its defaults."""
    values = {key: value for key, value in vars(run).items() if key not in ("resume", "overwrite")}
    default = GRPOConfig(output_dir=training.output_dir, bf16=False).to_dict()
    for key, value in training.to_dict().items():
        is_trl = key in GRPOConfig.__dataclass_fields__ and key not in DERIVED
        if is_trl and (key in RL_DEFAULTS or key == "use_cpu" or value != default.get(key)):
            values[key] = value
    if training.steps_per_generation == training.gradient_accumulation_steps:
        values.pop("steps_per_generation", None)  # its default
    return values


def save_config(run: RunConfig, training: GRPOConfig, path: Path) -> None:
    """Write the configuration as YAML that `--config` reads back."""
    path.write_text(yaml.safe_dump(resolved(run, training), sort_keys=False, allow_unicode=True))
