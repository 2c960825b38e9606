"""Checks of TRL's options before any work. A refusal is one line: the value, what is wrong, how to mend it."""

from typing import TYPE_CHECKING

from train.config.run_config import RunConfig

if TYPE_CHECKING:
    from trl import GRPOConfig

CHECKPOINTING = {  # of torch's checkpoint()
    **dict.fromkeys(("use_reentrant", "preserve_rng_state", "early_stop"), (True, False)),
    "determinism_check": ("default", "none"),
}
VALIDATED = (  # what a validation measures of all rollouts
    "accuracy", "reward", "reward_std", "format", "loss", "entropy", "thinking_tokens", "truncated", "repetition",
    "frac_reward_zero_std", "verifier_errors",
)  # fmt: skip
VALIDATED_PARTS = ("completions", "clip_ratio", "logprob_gap", "sampling")  # with further names behind a slash


def check_options(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse options of TRL that would be ignored here, and values that TRL would reject only after hours."""
    _check_validation(run, training)
    _check_model_options(run, training)
    _check_batches(run, training)
    _check_checkpoints(run, training)
    _check_entropy(training)
    _check_lengths(run, training)


def _check_validation(run: RunConfig, training: "GRPOConfig") -> None:
    """Refuse evaluations without problems, and a best checkpoint by a metric that no validation measures."""
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


def _check_model_options(run: RunConfig, training: "GRPOConfig") -> None:
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
    """Refuse batches that would split a group or mix generations in an update, and a screening of more than a group."""
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
    """Refuse bounds in the wrong order, and a coefficient that begins above them."""
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
