"""A run's configuration: one YAML file and the command line, every option of TRL's GRPOConfig included."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from trl import GRPOConfig, TrlParser

from data.mixture import Part, load_mixture
from train.chat import Chat, read_template
from train.scratch import check_scratch

BACKENDS = ("engine", "generate", "vllm")

# Where our defaults differ from TRL's. One update a batch, centred advantages, a fixed length normaliser and no
# reference model: the settings under which the small recipes learnt and did not collapse.
RL_DEFAULTS: dict[str, Any] = {
    "loss_type": "dr_grpo",
    "scale_rewards": "none",
    "beta": 0.0,
    "temperature": 1.0,
    "mask_truncated_completions": True,
    "num_generations": 16,
    "per_device_train_batch_size": 16,
    "num_generations_eval": 1,
    "max_completion_length": 512,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant_with_warmup",
    "logging_steps": 1,
    "save_strategy": "steps",
    "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    "report_to": "none",
    "log_level": "error",
    "remove_unused_columns": False,
    "disable_tqdm": True,  # our own bar shows what matters in RL
    "vllm_importance_sampling_mode": "token_truncate",  # TRL's masks long completions whole
    "gradient_checkpointing": False,  # a second forward that small models do not need
}
# Follow from other options, so a saved configuration leaves them out.
DERIVED = ("output_dir", "use_vllm", "generation_batch_size", "steps_per_generation")
# Options of TRL that our rollouts or our prompts would silently ignore.
REFUSED = {
    "use_transformers_continuous_batching": False,
    "repetition_penalty": 1.0,
    "generation_kwargs": None,
    "chat_template_kwargs": None,
}
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")


@dataclass
class RunConfig:
    """What a run is, beside TRL's own options."""

    name: str = field(default="", metadata={"help": "Name of the run; its folder is RUNS_DIR/NAME."})
    runs_dir: str = field(default="runs", metadata={"help": "Folder that holds the run folders."})
    resume: bool = field(default=False, metadata={"help": "Go on with the run of this name from its last checkpoint."})
    overwrite: bool = field(default=False, metadata={"help": "Delete the run of this name, if any, and start anew."})

    model: str = field(
        default="scratch",
        metadata={"help": "`scratch`, `smollm2-135m` (a real model, no hub needed), a hub id, or a local path."},
    )
    model_dtype: str = field(default="float32", metadata={"help": "Weights are loaded as float32 or bfloat16."})
    scratch: dict | str | None = field(
        default=None,
        metadata={"help": "Architecture and sizes of a scratch model, as a mapping (JSON on the command line)."},
    )
    lora_rank: int = field(
        default=0, metadata={"help": "Rank of LoRA adapters on every linear layer; 0 trains all weights."}
    )
    lora_alpha: int = field(default=32, metadata={"help": "LoRA scaling numerator: updates count alpha / rank."})
    load_in_4bit: bool = field(
        default=False,
        metadata={"help": "QLoRA: weights in 4 bits (bitsandbytes, CUDA) under LoRA; needs model_dtype bfloat16."},
    )

    tasks: dict | str | None = field(
        default=None,
        metadata={"help": "Mapping of task to its settings and `weight` (JSON on the command line)."},
    )
    split_seed: int = field(default=0, metadata={"help": "Decides which problems are train, validation and test."})
    train_problems: int = field(
        default=8_000, metadata={"help": "Problems drawn for RL; passed over again when used up."}
    )
    validation_problems: int = field(default=64, metadata={"help": "Held-out problems for the curve during training."})
    system_prompt: str = field(
        default="", metadata={"help": "System message before each problem; `task` takes the task's own instructions."}
    )
    chat_template: str = field(
        default="",
        metadata={
            "help": "plain, plain-think, chatml, chatml-think, or the path of a Jinja file; by default the tokenizer's "
            "own, which base models often lack. The -think ones open the thinking in the prompt."
        },
    )
    eos_token: str = field(
        default="", metadata={"help": "Token that ends a turn, where the tokenizer's end-of-sequence token does not."}
    )

    cold_start_steps: int = field(
        default=0, metadata={"help": "Steps of supervised training on demonstrations before RL; 0 goes straight to RL."}
    )
    cold_start_batch_size: int = field(
        default=16, metadata={"help": "Demonstrations in one cold-start step, per process."}
    )
    cold_start_learning_rate: float = field(
        default=2e-3, metadata={"help": "Peak of the cold start's cosine schedule."}
    )
    cold_start_judgement_weight: float = field(
        default=3.0,
        metadata={"help": "How much more the cold start's loss counts the tokens that judge, such as yes and no."},
    )

    backend: str = field(
        default="engine",
        metadata={
            "help": "What samples the rollouts: `engine`, ours; `vllm`, through TRL and its vllm_* options (CUDA); or "
            "`generate`, transformers' own (slow; the oracle)."
        },
    )
    cache_gib: float | None = field(
        default=None,
        metadata={"help": "Limit of the engine's key-value cache in GiB; half of the free memory by default."},
    )
    guard_fraction: float = field(
        default=0.5,
        metadata={"help": "Stop when the mean reward of 8 steps falls below this share of its best; 0 never stops."},
    )
    nonfinite_limit: int = field(
        default=3,
        metadata={"help": "Stop when the loss or gradient is not finite in this many steps in a row; each is skipped."},
    )

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value that cannot be, before any work starts."""
        self.tasks = _mapping("tasks", self.tasks)
        self.scratch = _mapping("scratch", self.scratch)
        if (
            not isinstance(self.name, str)
            or not self.name
            or self.name in (".", "..")
            or "/" in self.name
            or "\\" in self.name
        ):
            raise ValueError(f"name is {self.name!r}; expected a folder name, such as --name my-run.")
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other; give one.")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}; expected one of: {', '.join(BACKENDS)}.")
        self.chat_template = read_template(self.chat_template)
        _check_model(self)
        for name in ("cold_start_steps", "lora_rank", "validation_problems"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more.")
        for name in (
            "cold_start_batch_size",
            "cold_start_learning_rate",
            "cold_start_judgement_weight",
            "train_problems",
            "nonfinite_limit",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0.")
        if not 0 <= self.guard_fraction < 1:
            raise ValueError(f"guard_fraction is {self.guard_fraction}; expected 0 (off) to below 1.")
        self.parts  # noqa: B018 - reads the tasks, so that a wrong one is refused here

    @property
    def parts(self) -> list[Part]:
        """The mixture of tasks."""
        return load_mixture(self.tasks)  # type: ignore[arg-type]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.runs_dir) / self.name

    @property
    def chat(self) -> Chat:
        """How the model is spoken to."""
        return Chat(self.chat_template, self.eos_token)

    @property
    def dtype(self) -> torch.dtype:
        """The type that weights are loaded as."""
        return torch.bfloat16 if self.model_dtype == "bfloat16" else torch.float32


def parse_config(arguments: Sequence[str] | None = None) -> tuple[RunConfig, GRPOConfig]:
    """Read `--config FILE` and the command line, which overrides the file.

    Raises ValueError with one clear line for an unknown key, a value out of range, or groups that would span ranks.
    """
    parser = TrlParser([RunConfig, GRPOConfig], prog="accelerate launch -m train", allow_abbrev=False)
    parser.set_defaults_with_config(**RL_DEFAULTS)
    given = list(arguments) if arguments is not None else None
    try:
        run, training = parser.parse_args_and_config(given)
    except FileNotFoundError as error:
        raise ValueError(
            f"Config file {error.filename} does not exist; --config takes the path of a YAML file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The config file cannot be read: {error}.") from None
    except TypeError as error:
        raise ValueError(f"A value in the configuration has the wrong type: {error}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"The config file is not valid YAML: {' '.join(str(error).split())}") from None
    if training.use_vllm:
        raise ValueError("use_vllm is set by the back end; leave it out and set backend: vllm.")
    training.use_vllm = run.backend == "vllm"
    training.bf16 = training.bf16 and not training.use_cpu  # a CPU is no faster in it
    training.output_dir = str(run.folder / "checkpoints")
    # A batch larger than its share of the validation problems would be filled up with copies of them.
    share = max(1, -(-run.validation_problems // world_size()))
    training.per_device_eval_batch_size = min(training.per_device_eval_batch_size, share)
    check_options(training)
    check_groups(training)
    return run, training


def check_options(training: GRPOConfig) -> None:
    """Refuse options of TRL that would be ignored here, and values that TRL would find wrong only after hours."""
    for name, default in REFUSED.items():
        if getattr(training, name) not in (default, None):
            raise ValueError(f"{name} is {getattr(training, name)!r}, which Rethink would ignore; leave it out.")
    if training.loss_type not in LOSSES:
        raise ValueError(f"loss_type is {training.loss_type!r}; expected one of: {', '.join(LOSSES)}.")
    if training.temperature <= 0:
        raise ValueError(f"temperature is {training.temperature}; RL samples, so it must be above 0.")
    if training.steps_per_generation < training.gradient_accumulation_steps:
        raise ValueError(
            f"steps_per_generation is {training.steps_per_generation}, less than gradient_accumulation_steps, "
            f"{training.gradient_accumulation_steps}: one update would mix several generations. Make them equal."
        )


def check_groups(training: GRPOConfig) -> None:
    """Refuse a batch whose groups would be split between processes: its advantages would be wrong or late."""
    local = training.per_device_train_batch_size * training.steps_per_generation
    if local % training.num_generations:
        raise ValueError(
            f"num_generations is {training.num_generations}, but each process samples {local} rollouts a step "
            "(per_device_train_batch_size * gradient_accumulation_steps): a group would span processes. Make the batch "
            "a multiple of num_generations."
        )


def resolved(run: RunConfig, training: GRPOConfig) -> dict[str, Any]:
    """The configuration as `config.yaml` keeps it: ours whole, TRL's where a default would differ."""
    values = {key: value for key, value in vars(run).items() if key not in ("resume", "overwrite")}
    default = GRPOConfig(output_dir=training.output_dir, bf16=False).to_dict()
    for key, value in training.to_dict().items():
        known = key in GRPOConfig.__dataclass_fields__ and key not in DERIVED
        if known and (key in RL_DEFAULTS or key == "use_cpu" or value != default.get(key)):
            values[key] = value
    return values


def save_config(run: RunConfig, training: GRPOConfig, path: Path) -> None:
    """Write the configuration as YAML that `--config` reads back."""
    path.write_text(yaml.safe_dump(resolved(run, training), sort_keys=False, allow_unicode=True))


def world_size() -> int:
    """Processes in this launch, from the launcher's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _check_model(run: RunConfig) -> None:
    """Refuse settings of the model that do not go together. Raises ValueError."""
    if run.model_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"model_dtype is {run.model_dtype!r}; expected float32 or bfloat16.")
    if run.model != "scratch":
        if run.scratch:
            raise ValueError(f"scratch is set, but model is {run.model!r}; leave one out.")
    elif run.lora_rank:
        raise ValueError(f"lora_rank is {run.lora_rank}, but model is scratch; LoRA needs a trained model, use 0.")
    elif run.chat_template or run.eos_token:
        raise ValueError("chat_template or eos_token is set, but model is scratch, which has its own; leave it out.")
    else:
        check_scratch(run.scratch)  # type: ignore[arg-type]
    if run.load_in_4bit and not (run.lora_rank and run.model_dtype == "bfloat16"):
        raise ValueError(
            f"load_in_4bit is set, but lora_rank is {run.lora_rank} and model_dtype {run.model_dtype}; weights in 4 "
            "bits are frozen and multiplied in bfloat16: set lora_rank: 16 and model_dtype: bfloat16."
        )
    if run.load_in_4bit and run.backend == "vllm":
        raise ValueError(
            "load_in_4bit is set, but backend is vllm, which would be given adapters merged into rounded weights; use "
            "backend: engine."
        )


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is {value!r}; expected a mapping (JSON on the command line): {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; expected a mapping.")
    return value
