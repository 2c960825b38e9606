"""One run from beginning to end: checks, cold start, reinforcement."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from filelock import BaseFileLock
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import GRPOConfig

from data.mixture import Split, draw_problems
from train import scratch
from train.callbacks import CollapseGuard, MetricsFile, ProgressBar, say
from train.chat_checks import check_chat
from train.checkpoint_files import fault, step_of
from train.cold_start import cold_start
from train.config import RunConfig
from train.guards import ReportingGuards
from train.models import load_model, load_tokenizer
from train.nonfinite import NonFiniteGuard
from train.prompts import messages, prompt_ids, stop_ids
from train.quantised import check_quantised, four_bits
from train.resume import resume_point
from train.rewards import CorrectnessReward, RolloutLog
from train.rollout.engine import RolloutEngine
from train.run_folder import (
    COLD_START,
    check_disk,
    checkpoint_bytes,
    lock,
    make_folder,
    refuse_changes,
    refuse_existing,
    truncate_metrics,
)
from train.signals import Interrupted, StopSignals, StopWhenAsked
from train.trainer import ReasoningTrainer
from train.trl_vllm import check_vllm


def prepare(run: RunConfig, training: GRPOConfig) -> BaseFileLock:
    """Check all that can go wrong before any work, then make the run folder. Raises ValueError with one clear line.

    Returns the lock that keeps other processes off the folder.
    """
    check_vllm(run, training)
    check_quantised(run, training)
    refuse_existing(run)
    if run.resume:
        refuse_changes(run, training)
    draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
    model, tokenizer = start_model(run, training.seed)
    check_chat(model, tokenizer, system=bool(run.system_prompt))
    check_lengths(run, training, model, tokenizer)
    if run.backend == "engine":
        RolloutEngine(model)  # refuses, by name, a model that it cannot run
    lora_share = 0.1 if run.lora_rank else 1.0  # adapters are a small part of the weights; this is on the safe side
    check_disk(Path(run.runs_dir), int(checkpoint_bytes(model) * lora_share))
    held = lock(run)
    make_folder(run, training)
    return held


def check_lengths(
    run: RunConfig, training: GRPOConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse completions that would run past the model's context. Raises ValueError."""
    problems = draw_problems(run.parts, "train", min(200, run.train_problems), run.split_seed)
    longest = max(len(prompt_ids(tokenizer, messages(problem, run.system_prompt))) for problem in problems)
    context = model.config.get_text_config().max_position_embeddings
    if longest + training.max_completion_length > context:
        raise ValueError(
            f"max_completion_length is {training.max_completion_length} and prompts take up to {longest} tokens, more "
            f"together than the model's context of {context}; ask for at most {context - longest}."
        )


def start_model(run: RunConfig, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer that the run starts from."""
    if run.model == "scratch":
        set_seed(seed)
        tokenizer = scratch.build_tokenizer()
        return scratch.build_model(run.scratch, tokenizer), tokenizer  # type: ignore[arg-type]
    tokenizer = load_tokenizer(run.model, run.chat)
    model = load_trainable(run, run.model)
    if run.eos_token:  # so that a checkpoint ends its turns wherever it is loaded
        model.generation_config.eos_token_id = list(stop_ids(model, tokenizer))
    return model, tokenizer


def load_trainable(run: RunConfig, name: str) -> PreTrainedModel:
    """The model called `name`, in the precision that `run` trains in."""
    return load_model(name, dtype=run.dtype, is_trainable=True, quantised=four_bits() if run.load_in_4bit else {})


def train(run: RunConfig, training: GRPOConfig) -> str | None:
    """Train the run to its end. Returns None, or what the collapse guard has to say. Raises Interrupted."""
    set_seed(training.seed)
    checkpoints = run.folder / "checkpoints"
    model, tokenizer = start_model(run, training.seed)
    peft_config = None
    if run.lora_rank and not hasattr(model, "peft_config"):
        peft_config = LoraConfig(
            r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    with StopSignals() as signals:
        if run.cold_start_steps:
            path = checkpoints / COLD_START
            if fault(path) is not None:
                cold_start(model, tokenizer, run, training, peft_config, StopWhenAsked(signals))
            model, peft_config = load_trainable(run, str(path)), None
        return reinforce(model, tokenizer, run, training, peft_config, StopWhenAsked(signals))


def reinforce(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    run: RunConfig,
    training: GRPOConfig,
    peft_config: LoraConfig | None,
    stop: StopWhenAsked,
) -> str | None:
    """Reinforcement learning from `model`; returns what the collapse guard has to say, if it stopped the run."""
    rank = training.process_index
    rollouts = RolloutLog(run.folder / "rollouts.parquet", rank)
    guard = CollapseGuard(run.guard_fraction, run.folder / "checkpoints")
    metrics = run.folder / "metrics.jsonl"
    resumed = resume_point(run.folder / "checkpoints") if run.resume else None
    if run.resume and rank == 0:
        step = step_of(resumed) if resumed else -1
        rollouts.forget_after(step)
        truncate_metrics(metrics, "rl", step)
        say(f"Resuming from {resumed}." if resumed else "No checkpoint was saved yet; reinforcement starts anew.")
    training.eval_on_start = training.eval_on_start and resumed is None  # done before the run was cut off
    trainer = ReasoningTrainer(
        model=model,
        reward_funcs=CorrectnessReward(tokenizer, stop_ids(model, tokenizer), rollouts),
        args=training,
        train_dataset=problem_dataset(run, "train", run.train_problems, training.seed),
        eval_dataset=problem_dataset(run, "validation", run.validation_problems, 0)
        if run.validation_problems
        else None,
        processing_class=tokenizer,
        peft_config=peft_config,
        backend=run.backend,
        cache_gib=run.cache_gib,
        nonfinite=NonFiniteGuard(run.folder / "nonfinite", run.nonfinite_limit),
        callbacks=[ReportingGuards(), MetricsFile(metrics, "rl"), ProgressBar("reinforcement"), guard, stop],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.stopped:
        raise Interrupted(f"Stopped after step {trainer.state.global_step}, which is saved; --resume goes on from it.")
    return guard.message


def problem_dataset(run: RunConfig, split: Split, count: int, order: int) -> Dataset:
    """Problems as TRL wants them: a conversational `prompt`, and what the reward needs to judge."""
    problems = draw_problems(run.parts, split, count, run.split_seed, order=order)
    rows: list[dict[str, Any]] = [
        {"prompt": messages(problem, run.system_prompt), "problem": problem.to_json(), "split": split}
        for problem in problems
    ]
    return Dataset.from_list(rows)
