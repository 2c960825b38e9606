"""A run's configuration: one YAML file and the command line, every option of TRL's GRPOConfig included."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from trl import GRPOConfig, TrlParser

from data.mixture import Part, load_mixture
from data.reasoning_traces import TraceSettings
from data.settings import read_settings
from data.tasks import get_task
from train.config.checks import check_file, check_groups, check_options, check_run
from train.config.reward_terms import Term, read_terms
from train.expert_iteration import OPTIONS
from train.model.chat import Chat, read_template

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
    "report_to": "tensorboard",
    "log_level": "error",
    "remove_unused_columns": False,
    "disable_tqdm": True,  # our own bar shows what matters in RL
    "vllm_importance_sampling_mode": "token_truncate",  # TRL's masks long completions whole
    "ddp_find_unused_parameters": False,  # there are none, and to look for them costs a walk of the graph
    "gradient_checkpointing": False,  # a second forward that small models do not need
}
# Follow from other options, so a saved configuration leaves them out.
DERIVED = ("output_dir", "use_vllm", "generation_batch_size", "steps_per_generation")


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
    contamination: str = field(
        default="report",
        metadata={
            "help": "Held-out problems that overlap with training ones (data/contamination.py): `report` says how "
            "many, `refuse` stops before any work, `off` does not look."
        },
    )
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

    method: str = field(
        default="grpo",
        metadata={
            "help": "`grpo` reinforces: right answers up, wrong ones down. `rft` imitates the right ones alone "
            "(rejection-sampling fine-tuning, expert iteration)."
        },
    )
    rewards: dict | str | None = field(
        default=None,
        metadata={
            "help": "List of rewards, or mapping of reward to weight: `correct` (default), `score`, `format`, "
            "`overlong`, or a function of yours, my/module.py:name. See train/config/reward_terms.py."
        },
    )
    cold_start_steps: int = field(
        default=0, metadata={"help": "Steps of supervised training on demonstrations before RL; 0 goes straight to RL."}
    )
    cold_start_tasks: dict | str | None = field(
        default=None,
        metadata={
            "help": "Mapping as in `tasks`: what the cold start imitates where those have no demonstrations themselves."
        },
    )
    cold_start_data: dict | str | None = field(
        default=None,
        metadata={
            "help": "Reasoning traces that the cold start imitates: a JSONL or parquet file, a hub id, or a mapping of "
            "source, subset, split, share (the rest are demonstrations), max_tokens and unverified. See "
            "data/reasoning_traces.py."
        },
    )
    cold_start_habit_steps: int = field(
        default=0,
        metadata={"help": "The last of the cold start's steps, whose demonstrations have the settings in habits."},
    )
    cold_start_habits: dict | str | None = field(
        default=None,
        metadata={
            "help": "Mapping of task to settings that the last demonstrations take instead, such as {arithmetic: "
            "{hasty: 0.8}}: skills are learnt first, habits last, as by instruction tuning."
        },
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
        metadata={"help": "Limit of the engine's memory in GiB, above all its cache; half of what is free by default."},
    )
    thinking_budget: int | None = field(
        default=None,
        metadata={
            "help": "Most thinking tokens of a rollout, in training and validation: at that many the engine writes "
            "`</think>` itself, and the loss leaves that token out. None by default."
        },
    )
    keep_last: int = field(
        default=0, metadata={"help": "Keep this many of the newest checkpoints, and delete older ones; 0 keeps all."}
    )
    keep_best: int = field(
        default=0,
        metadata={"help": "With keep_last: keep this many more, those of the best validation accuracy at their step."},
    )
    dynamic_sampling: bool = field(
        default=False,
        metadata={
            "help": "Ask first what the model solves sometimes, and within the step replace groups whose samples all "
            "got the same reward."
        },
    )
    screening_samples: int = field(
        default=0,
        metadata={
            "help": "With dynamic_sampling: draw this many samples of a group first, the rest only if those differ; "
            "0 draws whole groups. Saves tokens where few groups are useful, and takes more calls of the back end."
        },
    )
    oversample: float = field(
        default=2.0,
        metadata={
            "help": "With dynamic_sampling: a step samples at most this many times the rollouts that it trains on; 1 "
            "replaces nothing."
        },
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
        self.cold_start_tasks = _mapping("cold_start_tasks", self.cold_start_tasks) or None
        self.cold_start_habits = _mapping("cold_start_habits", self.cold_start_habits) or None
        check_run(self)
        self.chat_template = read_template(self.chat_template)

    @property
    def reward_terms(self) -> list[Term]:
        """The rewards and their weights; `correct` is always the first."""
        return read_terms(self.rewards)

    @property
    def trace_settings(self) -> TraceSettings | None:
        """Where the cold start's traces come from; None where it has none."""
        if not self.cold_start_data:
            return None
        data: Any = self.cold_start_data
        if isinstance(data, str):
            data = _mapping("cold_start_data", data) if data.lstrip().startswith("{") else {"source": data}
        if not isinstance(data, dict):
            raise ValueError(f"cold_start_data is {data!r}; expected a file, a hub id, or a mapping with source.")
        return read_settings("cold_start_data", TraceSettings, data)

    @property
    def parts(self) -> list[Part]:
        """The mixture of tasks."""
        return load_mixture(self.tasks)  # type: ignore[arg-type]

    @property
    def demonstrated(self) -> list[Part]:
        """The mixture of tasks that the cold start imitates."""
        return load_mixture(self.cold_start_tasks) if self.cold_start_tasks else self.parts  # type: ignore[arg-type]

    @property
    def habitual(self) -> list[Part]:
        """The mixture of tasks that the last steps of the cold start imitate."""
        spec: dict[str, Any] = self.cold_start_tasks or self.tasks  # type: ignore[assignment]
        habits: dict[str, Any] = self.cold_start_habits or {}  # type: ignore[assignment]
        return load_mixture({task: {**(values or {}), **(habits.get(task) or {})} for task, values in spec.items()})

    @property
    def words(self) -> list[str]:
        """The words of its tasks, which the tokenizer of a scratch model is made of."""
        return [word for part in (*self.parts, *self.demonstrated) for word in get_task(part.task).words]

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
    given = list(arguments) if arguments is not None else sys.argv[1:]
    if "--config" in given[:-1]:
        check_file(Path(given[given.index("--config") + 1]))
    try:
        run, training = parser.parse_args_and_config(given)
    except ImportError as error:
        raise ValueError(f"An option asks for a package that is not installed: {_first_line(error)}") from None
    except ValueError as error:
        if "divisible by num_generations" in str(error):
            raise ValueError(
                f"{_first_line(error)} It is per_device_train_batch_size * steps_per_generation * processes, and "
                "steps_per_generation is gradient_accumulation_steps unless set: make that a multiple of "
                "num_generations."
            ) from None
        if not any(words in str(error) for words in ("assigned backend", "Default process group")):
            raise
        # accelerate's words do not name the option.
        raise ValueError(f"ddp_backend does not go together with this launch ({error}); leave it out.") from None
    except TypeError as error:
        raise ValueError(f"A value in the configuration has the wrong type: {error}.") from None
    if training.reward_weights is not None:
        raise ValueError(
            f"reward_weights is {training.reward_weights}; give the weights with the names, such as rewards: "
            "{correct: 1, format: 0.2}."
        )
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
    training.output_dir = str(run.folder / "checkpoints")
    # A batch larger than its share of the validation rollouts would be filled up with copies of them.
    share = max(1, -(-run.validation_problems // world_size())) * (training.num_generations_eval or 1)
    training.per_device_eval_batch_size = min(training.per_device_eval_batch_size, share)
    check_options(run, training)
    check_groups(training)
    return run, training


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


def world_rank() -> int:
    """The number of this process in the launch, from the launcher's environment."""
    return int(os.environ.get("RANK", "0"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
