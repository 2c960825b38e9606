"""The configuration of a run, in addition to TRL's options: each field with its type, range and help.

Imports neither torch nor trl, so that an invalid value is refused at once.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.fixed_sets.reasoning_traces import TraceSettings
from data.mixture import Part, load_mixture
from data.paths import user_path
from data.settings import read_settings
from data.tasks import get_task
from train.config.reward_terms import Term, read_terms
from train.config.values import Range, checked_values
from train.model.chat import Chat, read_template

if TYPE_CHECKING:
    import torch

WHOLE, COUNT, POSITIVE = Range(least=0), Range(least=1), Range(above=0)
PROBLEMS = 10_000_000  # drawing more would take days
METHODS = ("grpo", "rft")  # see train/expert_iteration.py
BACKENDS = ("engine", "generate", "vllm")
CORRECTIONS = ("none", "tis", "mis")  # see train/loss/rollout_correction.py


@dataclass
class RunConfig:
    """The configuration of a run, in addition to TRL's options.

    Each value is checked by itself; `train.config.checks` then looks at them together.
    """

    name: str = field(default="", metadata={"help": "Name of the run; its folder is RUNS_DIR/NAME."})
    runs_dir: str = field(default="runs", metadata={"help": "Folder that holds the run folders."})
    resume: bool = field(default=False, metadata={"help": "Go on with the run of this name from its last checkpoint."})
    overwrite: bool = field(default=False, metadata={"help": "Delete the run of this name, if any, and start anew."})

    model: str = field(
        default="scratch",
        metadata={"help": "`scratch`, `smollm2-135m` (a real model, no hub needed), a hub id, or a local path."},
    )
    model_dtype: str = field(
        default="float32",
        metadata={"choices": ("float32", "bfloat16"), "help": "Weights are loaded as float32 or bfloat16."},
    )
    scratch: dict | str | None = field(
        default=None,
        metadata={"help": "Architecture and sizes of a scratch model, as a mapping (JSON on the command line)."},
    )
    lora_rank: int = field(
        default=0,
        metadata={"range": WHOLE, "help": "Rank of LoRA adapters on every linear layer; 0 trains all weights."},
    )
    lora_alpha: int = field(
        default=32, metadata={"range": COUNT, "help": "LoRA scaling numerator: updates count alpha / rank."}
    )
    load_in_4bit: bool = field(
        default=False,
        metadata={"help": "QLoRA: weights in 4 bits (bitsandbytes, CUDA) under LoRA; needs model_dtype bfloat16."},
    )

    tasks: dict | str | None = field(
        default=None,
        metadata={"help": "Mapping of task to its settings and `weight` (JSON on the command line)."},
    )
    split_seed: int = field(
        default=0,
        metadata={
            "range": Range(least=-(2**63), most=2**63, words="of at most 64 bits"),
            "help": "Decides which problems are train, validation and test.",
        },
    )
    train_problems: int = field(
        default=8_000,
        metadata={
            "range": Range(least=1, most=PROBLEMS),
            "help": "Problems drawn for RL; passed over again when used up.",
        },
    )
    validation_problems: int = field(
        default=64,
        metadata={"range": Range(least=0, most=PROBLEMS), "help": "Held-out problems for the curve during training."},
    )
    contamination: str = field(
        default="report",
        metadata={
            "choices": ("report", "refuse", "off"),
            "help": "Held-out problems that overlap with training ones (data/contamination.py): `report` says how "
            "many, `refuse` stops before any work, `off` does not look.",
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
            "choices": METHODS,
            "help": "`grpo` reinforces: right answers up, wrong ones down. `rft` imitates the right ones alone "
            "(rejection-sampling fine-tuning, expert iteration).",
        },
    )
    rewards: dict | list | str | None = field(
        default=None,
        metadata={
            "help": "List of rewards, or mapping of reward to weight: `correct` (default), `score`, `format`, "
            "`overlong`, or a function of yours, my/module.py:name. See train/config/reward_terms.py."
        },
    )
    cold_start_steps: int = field(
        default=0,
        metadata={
            "range": WHOLE,
            "help": "Steps of supervised training on demonstrations before RL; 0 goes straight to RL.",
        },
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
            "data/fixed_sets/reasoning_traces.py."
        },
    )
    cold_start_easy_steps: int = field(
        default=0,
        metadata={
            "range": WHOLE,
            "help": "The first of the cold start's steps, whose demonstrations take the settings in cold_start_easy.",
        },
    )
    cold_start_easy: dict | str | None = field(
        default=None,
        metadata={
            "help": "Mapping of task to settings that the first demonstrations take instead, such as {countdown: "
            "{guided: 0.6, orderly: 0}}: short searches, half of which succeed, teach what success looks like."
        },
    )
    cold_start_habit_steps: int = field(
        default=0,
        metadata={
            "range": WHOLE,
            "help": "The last of the cold start's steps, whose demonstrations take the settings in cold_start_habits.",
        },
    )
    cold_start_habits: dict | str | None = field(
        default=None,
        metadata={
            "help": "Mapping of task to settings that the last demonstrations take instead, such as {arithmetic: "
            "{hasty: 0.8}}: skills are learnt first, habits last, as by instruction tuning."
        },
    )
    cold_start_batch_size: int = field(
        default=16, metadata={"range": COUNT, "help": "Demonstrations in one cold-start step, per process."}
    )
    cold_start_learning_rate: float = field(
        default=2e-3, metadata={"range": POSITIVE, "help": "Peak of the cold start's cosine schedule."}
    )
    cold_start_optim: str = field(
        default="adamw",
        metadata={
            "choices": ("adamw", "muon"),
            "help": "Optimizer of the cold start. `muon` takes a quarter fewer steps where a small model begins at "
            "random weights; it was not tried on pretrained ones.",
        },
    )
    cold_start_judgement_weight: float = field(
        default=3.0,
        metadata={
            "range": POSITIVE,
            "help": "How much more the cold start's loss counts the tokens that judge, such as yes and no.",
        },
    )

    backend: str = field(
        default="engine",
        metadata={
            "choices": BACKENDS,
            "help": "What samples the rollouts: `engine`, ours; `vllm`, through TRL and its vllm_* options (CUDA); or "
            "`generate`, transformers' own (slow; the oracle).",
        },
    )
    cache_gib: float | None = field(
        default=None,
        metadata={
            "range": POSITIVE,
            "help": "Limit of the engine's memory in GiB, above all its cache; half of what is free by default.",
        },
    )
    max_rows: int | None = field(
        default=None,
        metadata={
            "range": COUNT,
            "help": "Most rollouts that the engine runs at once; by default 256, and 1,024 on CUDA, as memory allows.",
        },
    )
    rollout_correction: str = field(
        default="none",
        metadata={
            "choices": CORRECTIONS,
            "help": "Weight each token's loss by its probability in the loss over that in the sampler, where these "
            "differ (half precision): `tis` cuts weights off at vllm_importance_sampling_clip_max, `mis` sets those "
            "outside of vllm_importance_sampling_clip_min and _max to 0. One more forward a generation.",
        },
    )
    deterministic_rollouts: bool = field(
        default=False,
        metadata={
            "help": "The same seed on the same GPU gives the same rollouts bit for bit, whatever shares their batch. "
            "Needs the fused layers (train/rollout/README.md); slower."
        },
    )
    packed_loss: bool = field(
        default=False,
        metadata={
            "help": "Compute the loss over rows side by side instead of padded ones, and a prompt once for its rows: "
            "the same gradients. Refused where a trial of the model differs."
        },
    )
    plan_checkpointing: bool = field(
        default=False,
        metadata={
            "help": "On a GPU, leave gradient_checkpointing out where the plan (scripts/plan.py) finds room for a step "
            "without it, and set it where it finds none. On a CPU gradient_checkpointing stands as it is."
        },
    )
    thinking_budget: int | None = field(
        default=None,
        metadata={
            "range": COUNT,
            "help": "Most thinking tokens of a rollout, in training and validation: at that many the engine writes "
            "`</think>` itself, and the loss leaves that token out. None by default.",
        },
    )
    save_at: list[int] = field(
        default_factory=list,
        metadata={
            "range": COUNT,
            "help": "Steps at which a checkpoint is written besides every save_steps; keep_last never deletes these. A "
            "curve over log compute wants them a constant factor apart, such as [4, 8, 16, 32].",
        },
    )
    keep_last: int = field(
        default=0,
        metadata={
            "range": WHOLE,
            "help": "Keep this many of the newest checkpoints, and delete older ones; 0 keeps all.",
        },
    )
    keep_best: int = field(
        default=0,
        metadata={
            "range": WHOLE,
            "help": "With keep_last: keep this many more, those of the best validation accuracy at their step.",
        },
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
            "range": Range(
                least=2, most=1_000_000, also=(0,), words="0 (whole groups) or at least the 2 that can differ"
            ),
            "help": "With dynamic_sampling: draw this many samples of a group first, the rest only if those differ; "
            "0 draws whole groups. Saves tokens where few groups are useful, and takes more calls of the back end.",
        },
    )
    oversample: float = field(
        default=2.0,
        metadata={
            "range": Range(least=1, most=1_000, words="1 (replace nothing) to 1,000, such as 2"),
            "help": "With dynamic_sampling: a step samples at most this many times the rollouts that it trains on; 1 "
            "replaces nothing.",
        },
    )
    guard_fraction: float = field(
        default=0.5,
        metadata={
            "range": Range(least=0, below=1, words="0 (off) to below 1"),
            "help": "Stop when the mean reward of 8 steps falls below this share of its best; 0 never stops.",
        },
    )
    nonfinite_limit: int = field(
        default=3,
        metadata={
            "range": COUNT,
            "help": "Stop when the loss or gradient is not finite in this many steps in a row; each is skipped.",
        },
    )

    def __post_init__(self) -> None:
        """Raise ValueError for the first invalid value, before any work starts."""
        for name, value in checked_values(self).items():
            setattr(self, name, value)
        self.runs_dir = str(user_path(self.runs_dir))
        self.tasks = _mapping("tasks", self.tasks)
        self.scratch = _mapping("scratch", self.scratch)
        self.cold_start_tasks = _mapping("cold_start_tasks", self.cold_start_tasks) or None
        self.cold_start_easy = _mapping("cold_start_easy", self.cold_start_easy) or None
        self.cold_start_habits = _mapping("cold_start_habits", self.cold_start_habits) or None
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

    def demonstrated_with(self, changes: Any) -> list[Part]:
        """The mixture that the cold start imitates, with other settings for some tasks.

        `changes` is `cold_start_easy` or `cold_start_habits`: a mapping of task to settings.
        """
        spec: dict[str, Any] = self.cold_start_tasks or self.tasks  # type: ignore[assignment]
        return load_mixture({task: {**(values or {}), **(changes.get(task) or {})} for task, values in spec.items()})

    @property
    def words(self) -> list[str]:
        """The words of the run's tasks, from which a scratch model's tokenizer is built."""
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
    def dtype(self) -> "torch.dtype":
        """The type that weights are loaded as."""
        import torch

        return torch.bfloat16 if self.model_dtype == "bfloat16" else torch.float32


def world_size() -> int:
    """Processes in this launch, from the launcher's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def world_rank() -> int:
    """The number of this process in the launch, from the launcher's environment."""
    return int(os.environ.get("RANK", "0"))


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
