"""Checks of our own settings before any work. A refusal is one line: the value, what is wrong, how to mend it."""

import os

from data.tasks import get_task
from train.config.run_config import RunConfig
from train.model.scratch_sizes import check_scratch

MAX_NAME = 200  # bytes; file systems take 255, and lock and scratch files add to it
NOT_IN_NAMES = "/\\*?[]{}<>|&;$`'\"!"


def check_run(run: RunConfig) -> None:
    """Raise ValueError for the first of our own settings that is invalid."""
    check_name(run.name)
    if not run.runs_dir.strip():
        raise ValueError(f"runs_dir is {run.runs_dir!r}; expected a folder, such as runs.")
    if run.resume and run.overwrite:
        raise ValueError("--resume and --overwrite exclude each other; give one.")
    if run.thinking_budget is not None and run.backend != "engine":
        raise ValueError(
            f"thinking_budget is {run.thinking_budget}, but backend is {run.backend}, which cannot enforce one; use "
            "backend: engine."
        )
    for field, value in (("cache_gib", run.cache_gib), ("max_rows", run.max_rows)):
        if value is not None and run.backend == "generate":
            raise ValueError(f"{field} is {value}, but backend is generate, which would ignore it; leave it out.")
    check_correction(run)
    check_engine_alone(run)
    check_rewards(run)
    if run.trace_settings and not run.cold_start_steps:
        raise ValueError(
            f"cold_start_data is {run.cold_start_data!r}, but cold_start_steps is 0: nothing would be learnt from it. "
            "Set cold_start_steps."
        )
    check_model(run)
    check_tasks(run)


def check_correction(run: RunConfig) -> None:
    """Refuse a rollout correction that would have no effect. Raises ValueError."""
    if run.rollout_correction == "none":
        return
    if run.backend != "engine":
        instead = "set vllm_importance_sampling_mode" if run.backend == "vllm" else "use backend: engine"
        raise ValueError(
            f"rollout_correction is {run.rollout_correction}, which is for the engine's rollouts, but backend is "
            f"{run.backend}; {instead}."
        )
    if run.method == "rft":
        raise ValueError(
            f"rollout_correction is {run.rollout_correction}, but method is rft, which imitates text whoever wrote it; "
            "leave it out."
        )


def check_engine_alone(run: RunConfig) -> None:
    """Refuse options that only the engine has where another back end samples. Raises ValueError."""
    if run.deterministic_rollouts and run.backend != "engine":
        raise ValueError(
            f"deterministic_rollouts is set, but backend is {run.backend}, whose rollouts depend on their batch; use "
            "backend: engine."
        )
    if run.packed_loss and run.backend == "generate":
        raise ValueError(
            "packed_loss is set, but backend is generate, which would sample with the attention of packed rows; use "
            "backend: engine."
        )


def check_rewards(run: RunConfig) -> None:
    """Refuse invalid rewards, and rewards that the method would ignore. Raises ValueError."""
    terms = run.reward_terms
    if run.method == "rft" and len(terms) > 1:
        raise ValueError(
            f"rewards has {', '.join(term.name for term in terms)}, but method is rft, which imitates what is correct "
            "and knows no other reward; leave rewards out."
        )


def check_name(name: str) -> None:
    """Refuse a name that no folder should have, or that a shell would read as something else. Raises ValueError."""
    bad = not name or name != name.strip() or name[0] in "-~" or name in (".", "..") or not name.isprintable()
    if bad or len(name.encode(errors="replace")) > MAX_NAME or set(name) & set(NOT_IN_NAMES):
        raise ValueError(f"name is {name!r}; expected a folder name of letters, digits and - _ ., such as my-run.")


def check_model(run: RunConfig) -> None:
    """Refuse settings of the model that do not go together. Raises ValueError."""
    if run.model != "scratch":
        if run.scratch:
            raise ValueError(f"scratch is set, but model is {run.model!r}; leave one out.")
    elif run.lora_rank:
        raise ValueError(f"lora_rank is {run.lora_rank}, but model is scratch; LoRA needs a trained model, use 0.")
    elif run.chat_template or run.eos_token:
        raise ValueError("chat_template or eos_token is set, but model is scratch, which has its own; leave it out.")
    else:
        check_scratch(run.scratch)  # type: ignore[arg-type]
    if run.cold_start_steps and run.cold_start_optim == "muon" and run.model != "scratch":
        raise ValueError(
            f"cold_start_optim is muon, but model is {run.model!r}; it is for random weights; use model: "
            "scratch, or adamw."
        )
    sharded = any(
        os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("true", "1") for name in ("FSDP", "DEEPSPEED")
    )
    if run.cold_start_steps and run.cold_start_optim == "muon" and sharded:
        raise ValueError(
            "cold_start_optim is muon, which needs whole matrices, but FSDP or DeepSpeed shards them; "
            "use adamw, or DDP."
        )
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


def check_tasks(run: RunConfig) -> None:
    """Refuse unknown tasks, tasks with invalid settings, and tasks that lack what this run needs. Raises ValueError."""
    traces = run.trace_settings
    imitates = run.cold_start_steps and (
        traces is None or traces.share < 1 or run.cold_start_easy_steps + run.cold_start_habit_steps
    )
    for part in run.demonstration_parts:
        if imitates and get_task(part.task).demonstrate is None:
            raise ValueError(
                f"cold_start_steps is {run.cold_start_steps}, but the task {part.task} has no demonstrations to "
                "imitate. Set it to 0, name tasks that have some in cold_start_tasks, such as {arithmetic: {}}, or "
                "give traces in cold_start_data."
            )
    check_stages(run)
    for task in [get_task(part.task) for part in (*run.parts, *run.demonstration_parts)]:
        if run.model == "scratch" and not task.words:
            raise ValueError(
                f"model is scratch, but the task {task.name} names no WORDS, and a model from nothing reads no others. "
                "Take a pre-trained model, such as model: smollm2-135m, or leave that task out."
            )


def check_stages(run: RunConfig) -> None:
    """Refuse first and last demonstrations of a cold start that could not be taught. Raises ValueError."""
    tasks = [part.task for part in run.demonstration_parts]
    stages = (
        ("cold_start_easy", "cold_start_easy_steps", "{countdown: {guided: 0.6}}"),
        ("cold_start_habits", "cold_start_habit_steps", "{arithmetic: {hasty: 0.8}}"),
    )
    for name, count, example in stages:
        steps, changes = getattr(run, count), getattr(run, name)
        if bool(steps) != bool(changes):
            raise ValueError(
                f"{count} is {steps} and {name} {changes!r}; set both, such as 300 and {example}, or neither."
            )
        for task in changes or {}:
            if task not in tasks:
                raise ValueError(
                    f"{name} names {task!r}, which the cold start does not imitate; expected some of: "
                    f"{', '.join(tasks)}."
                )
        if changes:
            run.demonstration_parts_with(changes)  # refuses unknown settings and values out of range
    stage_steps = run.cold_start_easy_steps + run.cold_start_habit_steps
    if stage_steps and stage_steps >= run.cold_start_steps:
        raise ValueError(
            f"cold_start_easy_steps is {run.cold_start_easy_steps} and cold_start_habit_steps "
            f"{run.cold_start_habit_steps}; expected together below cold_start_steps, {run.cold_start_steps}."
        )
