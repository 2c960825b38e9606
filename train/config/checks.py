"""Checks of a run's configuration before any work. A refusal is one line: the value, what is wrong, how to mend it."""

import os
from typing import TYPE_CHECKING

from data.tasks import get_task
from train.config.run_config import RunConfig
from train.model.scratch_sizes import check_scratch

if TYPE_CHECKING:
    from trl import GRPOConfig

MAX_NAME = 200  # bytes; file systems take 255, and lock and scratch files add to it
NOT_IN_NAMES = "/\\*?[]{}<>|&;$`'\"!"
CHECKPOINTING = {  # of torch's checkpoint()
    **dict.fromkeys(("use_reentrant", "preserve_rng_state", "early_stop"), (True, False)),
    "determinism_check": ("default", "none"),
}
VALIDATED = (  # what a validation measures of all rollouts
    "accuracy", "reward", "reward_std", "format", "loss", "entropy", "thinking_tokens", "truncated", "repetition",
    "frac_reward_zero_std", "verifier_errors",
)  # fmt: skip
VALIDATED_PARTS = ("completions", "clip_ratio", "logprob_gap", "sampling")  # with further names behind a slash


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


def check_options(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse options of TRL that would be ignored here, and values that TRL would reject only after hours."""
    _check_validation(run, training)
    _check_model(run, training)
    _check_batches(run, training)
    _check_checkpoints(run, training)
    _check_entropy(training)
    _check_lengths(run, training)


def _check_validation(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse evaluations without problems, and a best checkpoint by a metric that none measures."""
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    if evaluates and not run.validation_problems:
        raise ValueError(
            "validation_problems is 0, but eval_strategy or eval_on_start asks for evaluations; set the one, or leave "
            "out the other."
        )
    metric = (training.metric_for_best_model or "loss").removeprefix("eval_")
    metrics = [f"accuracy/{part.task}" for part in run.parts]
    metrics += [f"rewards/{term.name}/{of}" for term in run.reward_terms for of in ("mean", "std")]
    if metric not in (*VALIDATED, *metrics) and metric.partition("/")[0] not in VALIDATED_PARTS:
        raise ValueError(
            f"metric_for_best_model is {training.metric_for_best_model!r}, which no validation measures; expected one "
            f"of: {', '.join((*VALIDATED, *metrics))}."
        )


def _check_model(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse options of precision, reference, kernels, template and recomputation that do not fit the model."""
    if training.fp16 and run.model_dtype == "bfloat16" and not run.lora_rank:
        raise ValueError(
            "fp16 is set, but model_dtype is bfloat16, and fp16's loss scaling does not work on bfloat16 gradients; "
            "use model_dtype: float32."
        )
    if training.sync_ref_model and (training.beta == 0 or run.lora_rank):
        why = "beta is 0, so there is no reference model" if training.beta == 0 else "LoRA has no reference of its own"
        raise ValueError(f"sync_ref_model is set, but {why}; leave it out.")
    if training.beta and run.model == "scratch" and not run.cold_start_steps:
        raise ValueError(
            f"beta is {training.beta}, but model is scratch without a cold start, so there is no model to stay near; "
            "set cold_start_steps, or leave beta out."
        )
    if training.liger_kernel_config and not training.use_liger_kernel:
        raise ValueError("liger_kernel_config is set, but use_liger_kernel is not; set both, or leave both out.")
    if run.model == "scratch" and training.chat_template_kwargs:
        raise ValueError("chat_template_kwargs is set, but model is scratch, which has its own; leave it out.")
    for name, value in (training.gradient_checkpointing_kwargs or {}).items():
        if name not in CHECKPOINTING:
            raise ValueError(
                f"gradient_checkpointing_kwargs has {name!r}; expected some of: {', '.join(CHECKPOINTING)}."
            )
        if value not in CHECKPOINTING[name] or (isinstance(value, int) and not isinstance(value, bool)):
            choices = " or ".join(str(each).lower() for each in CHECKPOINTING[name])
            raise ValueError(f"gradient_checkpointing_kwargs.{name} is {value!r}; expected {choices}.")


def _check_batches(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse batches that would split a group, or mix the rollouts of several generations in an update."""
    batches = training.accelerator_config
    for name in ("split_batches", "dispatch_batches"):
        if getattr(batches, name):
            raise ValueError(f"accelerator_config sets {name}, which would split groups; leave it out.")
    if run.screening_samples > training.num_generations:
        raise ValueError(
            f"screening_samples is {run.screening_samples}, more than a group has, num_generations "
            f"{training.num_generations}; lower it, or set 0 to draw whole groups."
        )
    if training.steps_per_generation < training.gradient_accumulation_steps:
        raise ValueError(
            f"steps_per_generation is {training.steps_per_generation}, less than gradient_accumulation_steps, "
            f"{training.gradient_accumulation_steps}: one update would mix several generations. Make them equal."
        )


def _check_checkpoints(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse checkpoints that cannot be resumed from, and rules of which to keep that contradict each other."""
    if run.resume and training.save_only_model:
        raise ValueError("save_only_model is set, and checkpoints of weights alone cannot be resumed from.")
    if run.keep_last and training.save_total_limit:
        raise ValueError("keep_last and save_total_limit both say which checkpoints stay; leave save_total_limit out.")
    if run.keep_best and not (run.keep_last and training.eval_strategy == "steps" and run.validation_problems):
        raise ValueError(
            f"keep_best is {run.keep_best}, which needs keep_last, and validation at the saved steps: eval_strategy: "
            "steps, and eval_steps that divides save_steps."
        )
    if run.keep_best and training.save_steps % (training.eval_steps or training.logging_steps):
        raise ValueError(
            f"keep_best is {run.keep_best}, but eval_steps, {training.eval_steps}, does not divide save_steps, "
            f"{training.save_steps}: most checkpoints would never be validated."
        )


def _check_entropy(training: "GRPOConfig") -> None:
    """Refuse an adaptive entropy coefficient that begins outside its bounds."""
    low, high = training.entropy_coef_min, training.entropy_coef_max
    if training.use_adaptive_entropy and low > high:
        raise ValueError(f"entropy_coef_min is {low} and entropy_coef_max {high}; expected min at most max.")
    if training.use_adaptive_entropy and training.entropy_coef > high:
        raise ValueError(
            f"entropy_coef is {training.entropy_coef}, but entropy_coef_max is {high}; it begins there, so lower the "
            "one or raise the other."
        )


def _check_lengths(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse budgets and penalties that leave no room for an answer."""
    if run.thinking_budget is not None and run.thinking_budget + 3 > training.max_completion_length:
        raise ValueError(
            f"thinking_budget is {run.thinking_budget} and max_completion_length {training.max_completion_length}, "
            "which leaves no room for an answer behind the thinking; lower the one or raise the other."
        )
    for term in run.reward_terms:
        if term.buffer is not None and term.buffer > training.max_completion_length:
            raise ValueError(
                f"rewards.overlong.buffer is {term.buffer}, more than max_completion_length, "
                f"{training.max_completion_length}; lower it."
            )


def check_groups(training: "GRPOConfig") -> None:
    """Refuse a batch whose groups would be split between processes: its advantages would be wrong or late."""
    local = training.per_device_train_batch_size * training.steps_per_generation
    if local % training.num_generations:
        raise ValueError(
            f"num_generations is {training.num_generations}, but each process samples {local} rollouts a step "
            "(per_device_train_batch_size * gradient_accumulation_steps): a group would span processes. Make the batch "
            "a multiple of num_generations."
        )
