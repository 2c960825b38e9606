"""One run from beginning to end: checks, cold start, RL."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, set_seed
from trl import GRPOConfig

from data.mixture import draw_problems
from data.task import Split
from data.terminal import say
from train.cold_start import cold_start
from train.config.launch import find_launch
from train.config.run_config import RunConfig
from train.distributed.zero import take_deepspeed
from train.dynamic_sampling import DynamicSampling
from train.files.checkpoints import COLD_START, fault, step_of
from train.files.run_lock import lock, refuse_held
from train.gate import check_contamination, check_training
from train.lifecycle.callbacks import CollapseGuard, MetricsFile, ProgressBar, StopWhenAsked
from train.lifecycle.guards import ReportingGuards
from train.lifecycle.keep import KeepCheckpoints
from train.lifecycle.live_report import LiveReport
from train.lifecycle.lost_records import lost_records
from train.lifecycle.nonfinite import NonFiniteGuard
from train.lifecycle.overwriting import ForgetOverwritten, put_back_unless_begun
from train.lifecycle.resume import full_disk_named, resume_point
from train.lifecycle.run_folder import (
    check_disk,
    checkpoint_bytes,
    make_folder,
    other_versions,
    refuse_changes,
    refuse_existing,
    truncate_metrics,
)
from train.lifecycle.same_start import PROBLEMS, SOURCES, problem_digests, refuse_others, source_digests
from train.lifecycle.signals import Interrupted, StopSignals
from train.lifecycle.trackers import TENSORBOARD, log_last, trackers
from train.model.prompts import messages, stop_ids, thinking_within
from train.model.start import adapters, load_trainable, start_model
from train.optimiser import check_optimiser
from train.publishing.published import publish_finished
from train.rewards.correctness import CorrectnessReward
from train.rewards.functions import reward_functions
from train.rewards.rollout_log import RolloutLog
from train.trainer import ReasoningTrainer

ROLLOUTS = "rollouts.parquet"  # in the run folder


@contextmanager
def prepare(run: RunConfig, training: GRPOConfig) -> Iterator[None]:
    """Check all that can go wrong before any work, then make the run folder and lock it.

    Raises ValueError with one clear line. Where the run ends before its first step, the run that it was to overwrite is
    restored.
    """
    refuse_held(run.folder)
    refuse_existing(run)
    if run.resume:
        refuse_changes(run, training)
    problems = problem_digests(run, training.seed)
    if run.resume:
        refuse_others(run.folder, PROBLEMS, problems)
    model, tokenizer = check_training(run, training)
    sources = source_digests(run, model, tokenizer)
    if run.resume:
        refuse_others(run.folder, SOURCES, sources)
    lora_share = 0.1 if run.lora_rank else 1.0  # adapters are a small part of the weights; this is on the safe side
    check_disk(Path(run.runs_dir), int(checkpoint_bytes(model, find_launch().kind) * lora_share))
    try_building(run, training, model, tokenizer)
    contamination = check_contamination(run, training.seed) if not run.resume else None
    del model
    with lock(run.folder) as run_lock:
        refuse_existing(run)  # as it is now: the checks took a while
        make_folder(run, training, contamination, {PROBLEMS: problems, SOURCES: sources})
        run_lock.hold(run.folder)
        try:
            yield
        finally:
            put_back_unless_begun(run)


def check_parts(run: RunConfig, training: GRPOConfig) -> PreTrainedModel:
    """Check all that a run needs but its folder, as `prepare` does, and give its model. Raises ValueError."""
    model, tokenizer = check_training(run, training)
    try_building(run, training, model, tokenizer)
    return model


def try_building(
    run: RunConfig, training: GRPOConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Build the RL trainer, its optimiser and its schedule, and throw them away. Raises ValueError.

    So what TRL or an optimiser refuses is known before the cold start. Several processes build their trainers together,
    and vLLM starts with its trainer; there only the checks by name are made.
    """
    if find_launch().kind != "one process" or run.backend == "vllm":
        return
    trial = copy.copy(training)
    if not isinstance(model, PeftModel):
        trial.beta, trial.sync_ref_model = 0.0, False  # no reference model is loaded for this; an adapter is small
    trial.report_to, trial.push_to_hub, trial.log_completions_hub_repo = [], False, None
    with tempfile.TemporaryDirectory(prefix="rethink-trial-") as folder:
        trial.output_dir = folder
        try:
            trainer = build_trainer(
                model,
                tokenizer,
                run,
                trial,
                None if hasattr(model, "peft_config") else adapters(run),
                Path(folder),
                callbacks=[],
                most=training.generation_batch_size,
            )
            first_batches(trainer)
        except Exception as error:  # whatever TRL, PEFT, transformers and the optimisers raise
            reason = " ".join(str(error).split())
            raise ValueError(f"The trainer cannot be built: {reason} ({type(error).__name__})") from error
        check_optimiser(trainer)


def first_batches(trainer: ReasoningTrainer) -> None:
    """Take a batch for training and one for validation, under the options of data loading and of accelerate."""
    if not trainer.args.dataloader_num_workers:  # workers would cost more than they can show
        next(iter(trainer.get_train_dataloader()))
        if trainer.eval_dataset is not None:
            next(iter(trainer.get_eval_dataloader()))


def train(run: RunConfig, training: GRPOConfig) -> str | None:
    """Train the run to its end. Returns None, or what the collapse guard has to say. Raises Interrupted."""
    set_seed(training.seed)
    take_deepspeed(training)
    checkpoints = run.folder / "checkpoints"
    model, tokenizer = start_model(run, training.seed, training.chat_template_kwargs)
    peft_config = None if hasattr(model, "peft_config") else adapters(run)
    resumed = resume_point(checkpoints) if run.resume else None
    with full_disk_named(checkpoints), trackers(run, training), StopSignals() as signals:
        if run.cold_start_steps:
            path = cold_started(run, training, resumed)
            if path is None:
                cold_start(model, tokenizer, run, training, peft_config, StopWhenAsked(signals))
                take_deepspeed(training)
            model, peft_config = load_trainable(run, str(path or checkpoints / COLD_START)), None
        return reinforce(model, tokenizer, run, training, peft_config, StopWhenAsked(signals), resumed)


def cold_started(run: RunConfig, training: GRPOConfig, resumed: Path | None) -> Path | None:
    """The start of RL: a whole cold start or, where that is lost, the checkpoint to resume from.

    None where the cold start is still to be done, or is lost while `beta` needs it as the reference.
    """
    path = run.folder / "checkpoints" / COLD_START
    wrong = fault(path)
    if wrong is None:
        return path
    goes_on = resumed is not None and not training.beta
    if training.process_index == 0 and (resumed or path.exists()):
        what_now = f"{resumed} holds all that is needed of it" if goes_on else "it is done anew"
        say(f"Passed over {path}: {wrong}; {what_now}.")
    return resumed if goes_on else None


def reinforce(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    run: RunConfig,
    training: GRPOConfig,
    peft_config: LoraConfig | None,
    stop: StopWhenAsked,
    resumed: Path | None,
) -> str | None:
    """Reinforcement learning from `model`, or on from the checkpoint `resumed`.

    Returns what the collapse guard has to say, if it stopped the run.
    """
    rank = training.process_index
    guard = CollapseGuard(run.guard_fraction, run.folder / "checkpoints")
    metrics = run.folder / "metrics.jsonl"
    if run.resume and rank == 0:
        step = step_of(resumed) if resumed else -1
        if other := other_versions(run.folder):
            say(other)
        if resumed:
            for line in lost_records(run.folder, resumed, training, training.world_size, run.cold_start_steps):
                say(line)
        RolloutLog(run.folder / ROLLOUTS, rank).forget_after(step)
        truncate_metrics(metrics, "rl", step)
        say(f"Resuming from {resumed}." if resumed else "No checkpoint was saved yet; RL starts anew.")
    training.eval_on_start = training.eval_on_start and resumed is None  # done before the run was cut off
    callbacks = [
        ReportingGuards(),
        MetricsFile(metrics, "rl"),
        ProgressBar("RL"),
        guard,
        stop,
        KeepCheckpoints(run.folder / "checkpoints", run.keep_last, run.keep_best, run.save_at),
        ForgetOverwritten(run),
        LiveReport(run.folder, run.tasks),  # type: ignore[arg-type]
    ]
    trainer = build_trainer(model, tokenizer, run, training, peft_config, run.folder, callbacks)
    trainer.remove_callback(PrinterCallback)
    log_last(trainer, run.folder / TENSORBOARD, step_of(resumed) if resumed else -1)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.stopped:
        raise Interrupted(f"Stopped after step {trainer.state.global_step}, which is saved; --resume goes on from it.")
    if rank == 0 and guard.message is None and training.save_strategy != "no":
        say(publish_finished(run.folder))
    return guard.message


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    run: RunConfig,
    training: GRPOConfig,
    peft_config: LoraConfig | None,
    folder: Path,
    callbacks: list[TrainerCallback],
    most: int | None = None,
) -> ReasoningTrainer:
    """The RL trainer, which writes its rollouts into `folder`; of at most `most` problems, if given."""
    rollouts = RolloutLog(folder / ROLLOUTS, training.process_index)
    reward = CorrectnessReward(
        tokenizer, stop_ids(model, tokenizer), rollouts, mask_truncated=training.mask_truncated_completions
    )
    terms = run.reward_terms
    training.reward_weights = training.reward_weights or [term.weight for term in terms]
    problems = problem_dataset(run, "train", run.train_problems, training.seed, most)
    validation = (
        problem_dataset(run, "validation", run.validation_problems, 0, most) if run.validation_problems else None
    )
    return ReasoningTrainer(
        model=model,
        reward_funcs=reward_functions(terms, reward, training.max_completion_length),
        args=training,
        train_dataset=problems,
        eval_dataset=validation,
        processing_class=tokenizer,
        peft_config=peft_config,
        backend=run.backend,
        cache_gib=run.cache_gib,
        max_rows=run.max_rows,
        rollout_correction=run.rollout_correction,
        packed_loss=run.packed_loss,
        deterministic_rollouts=run.deterministic_rollouts,
        thinking=None if run.thinking_budget is None else thinking_within(tokenizer, run.thinking_budget),
        nonfinite=NonFiniteGuard(folder / "nonfinite", run.nonfinite_limit),
        dynamic_sampling=DynamicSampling(problems["problem"], reward, run.screening_samples, run.oversample)
        if run.dynamic_sampling
        else None,
        accepted=(lambda: reward.accepted) if run.method == "rft" else None,
        callbacks=callbacks,
    )


def problem_dataset(run: RunConfig, split: Split, count: int, order: int, most: int | None = None) -> Dataset:
    """Problems as TRL wants them: a conversational `prompt`, and what the reward needs to judge; `most` at most."""
    problems = draw_problems(run.parts, split, count, run.split_seed, order=order)[:most]
    rows: list[dict[str, Any]] = [
        {"prompt": messages(problem, run.system_prompt), "problem": problem.to_json(), "split": split}
        for problem in problems
    ]
    return Dataset.from_list(rows)
