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
from train.config.values import Range, checked_values, setting
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

    name: str = setting("", "Name of the run; its folder is RUNS_DIR/NAME.")
    runs_dir: str = setting("runs", "Folder that holds the run folders.")
    resume: bool = setting(False, "Continue the run of this name from its last checkpoint.")
    overwrite: bool = setting(False, "Delete the run of this name, if there is one, and start anew.")

    model: str = setting(
        "scratch", "`scratch`, `smollm2-135m` (a real model, no hub needed), a hub id, or a local path."
    )
    model_dtype: str = setting("float32", "Weights are loaded as float32 or bfloat16.", choices=("float32", "bfloat16"))
    scratch: dict | str | None = setting(
        None, "Architecture and sizes of a scratch model, as a mapping (JSON on the command line)."
    )
    lora_rank: int = setting(0, "Rank of LoRA adapters on every linear layer; 0 trains all weights.", range=WHOLE)
    lora_alpha: int = setting(32, "LoRA scaling numerator: updates count alpha / rank.", range=COUNT)
    load_in_4bit: bool = setting(
        False, "QLoRA: weights in 4 bits (bitsandbytes, CUDA) under LoRA; needs model_dtype bfloat16."
    )

    tasks: dict | str | None = setting(None, "Mapping of task to its settings and `weight` (JSON on the command line).")
    split_seed: int = setting(
        0,
        "Decides which problems are train, validation and test.",
        range=Range(least=-(2**63), most=2**63, words="of at most 64 bits"),
    )
    train_problems: int = setting(
        8_000, "Problems drawn for RL; they are repeated once used up.", range=Range(least=1, most=PROBLEMS)
    )
    validation_problems: int = setting(
        64, "Held-out problems for the curve during training.", range=Range(least=0, most=PROBLEMS)
    )
    contamination: str = setting(
        "report",
        "Look for held-out problems that overlap with training problems (data/contamination.py): `report` says how "
        "many there are, `refuse` stops before training, `off` does not look.",
        choices=("report", "refuse", "off"),
    )
    system_prompt: str = setting("", "System message before each problem; `task` takes the task's own instructions.")
    chat_template: str = setting(
        "",
        "plain, plain-think, chatml, chatml-think, or the path of a Jinja file; by default the tokenizer's "
        "own, which base models often lack. The -think ones open the thinking in the prompt.",
    )
    eos_token: str = setting("", "Token that ends a turn, where the tokenizer's end-of-sequence token does not.")

    method: str = setting(
        "grpo",
        "`grpo` reinforces: right answers up, wrong ones down. `rft` imitates the right ones alone "
        "(rejection-sampling fine-tuning, expert iteration).",
        choices=METHODS,
    )
    rewards: dict | list | str | None = setting(
        None,
        "List of rewards, or mapping of reward to weight: `correct` (default), `score`, `format`, "
        "`overlong`, or your own function, my/module.py:name. See train/config/reward_terms.py.",
    )
    cold_start_steps: int = setting(
        0, "Steps of supervised training on demonstrations before RL; 0 goes straight to RL.", range=WHOLE
    )
    cold_start_tasks: dict | str | None = setting(
        None, "Mapping as in `tasks`: the tasks that the cold start imitates, where `tasks` have no demonstrations."
    )
    cold_start_data: dict | str | None = setting(
        None,
        "Reasoning traces that the cold start imitates: a JSONL or parquet file, a hub id, or a mapping of "
        "source, subset, split, share (the rest are demonstrations), max_tokens and unverified. See "
        "data/fixed_sets/reasoning_traces.py.",
    )
    cold_start_easy_steps: int = setting(
        0, "Number of steps at the start of the cold start that use the settings in cold_start_easy.", range=WHOLE
    )
    cold_start_easy: dict | str | None = setting(
        None,
        "Mapping of task to settings of the first demonstrations, such as {countdown: {guided: 0.6, orderly: 0}}: "
        "short searches, half of which succeed, teach what success looks like.",
    )
    cold_start_habit_steps: int = setting(
        0, "Number of steps at the end of the cold start that use the settings in cold_start_habits.", range=WHOLE
    )
    cold_start_habits: dict | str | None = setting(
        None,
        "Mapping of task to settings of the last demonstrations, such as {arithmetic: {hasty: 0.8}}: the model learns "
        "skills first and habits last, as instruction tuning teaches them.",
    )
    cold_start_batch_size: int = setting(16, "Demonstrations in one cold-start step, per process.", range=COUNT)
    cold_start_learning_rate: float = setting(2e-3, "Peak of the cold start's cosine schedule.", range=POSITIVE)
    cold_start_optim: str = setting(
        "adamw",
        "Optimizer of the cold start. `muon` takes a quarter fewer steps on a small model that starts from random "
        "weights; it was not tried on pretrained ones.",
        choices=("adamw", "muon"),
    )
    cold_start_judgement_weight: float = setting(
        3.0, "Weight of the tokens that judge a step, such as yes and no, in the cold start's loss.", range=POSITIVE
    )

    backend: str = setting(
        "engine",
        "What samples the rollouts: `engine`, ours; `vllm`, through TRL and its vllm_* options (CUDA); or "
        "`generate`, transformers' own (slow; the oracle).",
        choices=BACKENDS,
    )
    cache_gib: float | None = setting(
        None,
        "Limit of the engine's memory in GiB, most of which is its cache; by default half of what is free.",
        range=POSITIVE,
    )
    max_rows: int | None = setting(
        None,
        "Most rollouts that the engine runs at once; by default 256, and 1,024 on CUDA, as memory allows.",
        range=COUNT,
    )
    rollout_correction: str = setting(
        "none",
        "Weight each token's loss by its probability in training divided by that in sampling, which differ in half "
        "precision: `tis` caps the weights at vllm_importance_sampling_clip_max, `mis` sets those outside "
        "vllm_importance_sampling_clip_min and _max to 0. Costs one more forward per generation.",
        choices=CORRECTIONS,
    )
    deterministic_rollouts: bool = setting(
        False,
        "The same seed on the same GPU gives the same rollouts bit for bit, whatever shares their batch. "
        "Needs the fused layers (train/rollout/README.md); slower.",
    )
    packed_loss: bool = setting(
        False,
        "Compute the loss over rows laid end to end instead of padded ones, and over a group's prompt once. The "
        "gradients are the same; a model on which a trial finds them different is refused.",
    )
    plan_checkpointing: bool = setting(
        False,
        "On a GPU, turn gradient_checkpointing off if a step fits without it by the plan (scripts/plan.py), and on "
        "if it does not. On a CPU gradient_checkpointing is left as it is.",
    )
    thinking_budget: int | None = setting(
        None,
        "Most thinking tokens of a rollout, in training and validation. The engine then writes `</think>` itself, and "
        "the loss leaves that token out. No limit by default.",
        range=COUNT,
    )
    save_at: list[int] = field(
        default_factory=list,
        metadata={
            "range": COUNT,
            "help": "Steps at which a checkpoint is written besides every save_steps; keep_last never deletes these. "
            "For a curve over log compute, set them a constant factor apart, such as [4, 8, 16, 32].",
        },
    )
    keep_last: int = setting(
        0, "Keep this many of the newest checkpoints, and delete older ones; 0 keeps all.", range=WHOLE
    )
    keep_best: int = setting(
        0, "With keep_last: also keep this many checkpoints, those with the best validation accuracy.", range=WHOLE
    )
    dynamic_sampling: bool = setting(
        False,
        "Prefer problems that the model solves only sometimes, and replace groups whose samples all got the same "
        "reward within the step.",
    )
    screening_samples: int = setting(
        0,
        "With dynamic_sampling: draw this many samples of a group first, and the rest only if their rewards differ; 0 "
        "draws whole groups. Saves tokens where few groups are useful, and takes more calls of the back end.",
        range=Range(least=2, most=1_000_000, also=(0,), words="0 (whole groups) or at least the 2 that can differ"),
    )
    oversample: float = setting(
        2.0,
        "With dynamic_sampling: a step samples at most this many times the rollouts that it trains on; 1 "
        "replaces nothing.",
        range=Range(least=1, most=1_000, words="1 (replace nothing) to 1,000, such as 2"),
    )
    guard_fraction: float = setting(
        0.5,
        "Stop when the mean reward of 8 steps falls below this share of its best; 0 never stops.",
        range=Range(least=0, below=1, words="0 (off) to below 1"),
    )
    nonfinite_limit: int = setting(
        3,
        "Stop after this many steps in a row whose loss or gradient is not finite; each of them is skipped.",
        range=COUNT,
    )

    def __post_init__(self) -> None:
        """Raise ValueError for the first invalid value, before any work starts."""
        for name, value in checked_values(self).items():
            setattr(self, name, value)
        self.runs_dir = str(user_path(self.runs_dir)) if self.runs_dir else ""  # of which Path would make `.`
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
    def demonstration_parts(self) -> list[Part]:
        """The mixture of tasks that the cold start imitates."""
        return load_mixture(self.cold_start_tasks) if self.cold_start_tasks else self.parts  # type: ignore[arg-type]

    def demonstration_parts_with(self, changes: Any) -> list[Part]:
        """The mixture that the cold start imitates, with other settings for some tasks.

        `changes` is `cold_start_easy` or `cold_start_habits`: a mapping of task to settings.
        """
        spec: dict[str, Any] = self.cold_start_tasks or self.tasks  # type: ignore[assignment]
        return load_mixture({task: {**(values or {}), **(changes.get(task) or {})} for task, values in spec.items()})

    @property
    def words(self) -> list[str]:
        """The words of the run's tasks, which a scratch model's tokenizer is built from."""
        return [word for part in (*self.parts, *self.demonstration_parts) for word in get_task(part.task).words]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.runs_dir) / self.name

    @property
    def chat(self) -> Chat:
        """The chat template and the token that ends a turn."""
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
