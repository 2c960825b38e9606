"""One run from beginning to end: checks, cold start, reinforcement."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from filelock import BaseFileLock
from peft import LoraConfig
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import GRPOConfig

from data.contamination import overlaps
from data.mixture import BAR_SECONDS, Split, draw_problems, held_out
from data.tasks import get_task
from train.cold_start import cold_start, limits_of, training_set
from train.config.launch import find_launch
from train.config.qlora import check_quantised, four_bits
from train.config.run_config import RunConfig
from train.config.trl_vllm import check_vllm
from train.distributed.zero import take_deepspeed, unpartitioned
from train.dynamic_sampling import DynamicSampling
from train.files.checkpoints import fault, step_of
from train.files.run_lock import lock
from train.lifecycle.callbacks import CollapseGuard, MetricsFile, ProgressBar, StopWhenAsked, say
from train.lifecycle.guards import ReportingGuards
from train.lifecycle.keep import KeepCheckpoints
from train.lifecycle.nonfinite import NonFiniteGuard
from train.lifecycle.resume import resume_point
from train.lifecycle.run_folder import (
    COLD_START,
    check_disk,
    checkpoint_bytes,
    make_folder,
    refuse_changes,
    refuse_existing,
    truncate_metrics,
)
from train.lifecycle.signals import Interrupted, StopSignals
from train.lifecycle.trackers import TENSORBOARD, check_trackers, log_last, trackers
from train.model import scratch
from train.model.chat_checks import check_chat
from train.model.loading import load_model, load_tokenizer
from train.model.prompts import messages, prompt_ids, stop_ids, thinking_within
from train.reward_functions import check_own_rewards, reward_functions
from train.rewards import CorrectnessReward, RolloutLog
from train.rollout.engine import RolloutEngine
from train.trainer import ReasoningTrainer

TEST_PROBLEMS = 100  # of each procedural task, held against the training problems; of fixed sets it is all


def prepare(run: RunConfig, training: GRPOConfig) -> BaseFileLock:
    """Check all that can go wrong before any work, then make the run folder. Raises ValueError with one clear line.

    Returns the lock that keeps other processes off the folder.
    """
    refuse_existing(run)
    if run.resume:
        refuse_changes(run, training)
    check_parts(run, training)
    contamination = check_contamination(run, training.seed) if not run.resume else None
    held = lock(run.folder)
    make_folder(run, training, contamination)
    return held


def check_parts(run: RunConfig, training: GRPOConfig) -> PreTrainedModel:
    """Check all that a run needs but its folder, and give its model. Raises ValueError with one clear line."""
    check_trackers(training)
    check_vllm(run, training)
    check_quantised(run, training)
    draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
    with unpartitioned():
        model, tokenizer = start_model(run, training.seed)
    check_chat(model, tokenizer, system=bool(run.system_prompt))
    check_lengths(run, training, model, tokenizer)
    if run.thinking_budget is not None:
        thinking_within(tokenizer, run.thinking_budget)  # refuses a tokenizer that lacks the tags
    if run.trace_settings and not run.resume:
        training_set(tokenizer, run, training.seed, limits_of(model, training))  # says what it leaves out, and why
    if any(term.is_own for term in run.reward_terms):
        check_own_rewards(run.reward_terms, list(problem_dataset(run, "train", 2, training.seed)))
    if run.dynamic_sampling:
        check_choice(run, training)
    if run.backend == "engine":
        RolloutEngine(model)  # refuses, by name, a model that it cannot run
    lora_share = 0.1 if run.lora_rank else 1.0  # adapters are a small part of the weights; this is on the safe side
    check_disk(Path(run.runs_dir), int(checkpoint_bytes(model, find_launch().kind) * lora_share))
    return model


def check_contamination(run: RunConfig, seed: int) -> dict[str, Any] | None:
    """Say how far the run's held-out problems overlap with those that it trains on; None where it is not to look.

    Raises ValueError with the worst pair where there are some, and the run is to refuse them.
    """
    if run.contamination == "off":
        return None
    trained = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=seed)
    sets = {
        "validation": draw_problems(run.parts, "validation", run.validation_problems, run.split_seed),
        "test": held_out(run.parts, "test", run.split_seed, TEST_PROBLEMS),
    }
    procedural = [part.task for part in run.parts if get_task(part.task).draw]
    found = {name: overlaps(trained, problems, procedural) for name, problems in sets.items()}
    counts = ", ".join(f"{len(found[name])} of {len(problems):,} {name}" for name, problems in sets.items())
    say(f"Contamination: {counts} problems overlap with the {len(trained):,} training problems.")
    worst = max((pair for pairs in found.values() for pair in pairs), key=lambda pair: pair.share, default=None)
    if worst and run.contamination == "refuse":
        raise ValueError(
            f"contamination is refuse, and held-out problems overlap with training ones ({counts}). The worst, by "
            f"{worst.share:.0%}, is {worst.held_out.prompt[:200]!r} of {worst.held_out.task}, beside the training "
            f"problem {worst.trained.prompt[:200]!r} of {worst.trained.task}. Leave one of the sources out, or set "
            "contamination: report."
        )
    return {
        name: {"problems": len(sets[name]), "overlapping": [pair.as_json() for pair in pairs]}
        for name, pairs in found.items()
    }


def check_lengths(
    run: RunConfig, training: GRPOConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse prompts that a model from scratch cannot read, and completions past the context. Raises ValueError.

    Every problem of training and validation is looked at: one long row of a set would end a run after hours.
    """
    asked = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=training.seed)
    asked += draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
    longest, worst = 0, asked[0]
    different = {(problem.task, problem.prompt): problem for problem in asked}
    for problem in tqdm(different.values(), "prompts", dynamic_ncols=True, delay=BAR_SECONDS):
        if run.model == "scratch" and tokenizer.unk_token_id in tokenizer.encode(problem.prompt):
            raise ValueError(
                f"A model from scratch cannot read the prompt {problem.prompt!r} of {problem.task}: it knows numbers, "
                "signs and the WORDS of its tasks. Add the words there, or take a pre-trained model."
            )
        length = len(prompt_ids(tokenizer, messages(problem, run.system_prompt)))
        if length > longest:
            longest, worst = length, problem
    context = model.config.get_text_config().max_position_embeddings
    if longest + training.max_completion_length > context:
        mend = f"ask for at most {context - longest}" if context > longest else "leave that one out"
        raise ValueError(
            f"max_completion_length is {training.max_completion_length} and prompts take up to {longest} tokens, more "
            f"together than the model's context of {context}; {mend}. The longest, of {worst.task}, begins: "
            f"{worst.prompt[:80]!r}."
        )


def check_choice(run: RunConfig, training: GRPOConfig) -> None:
    """Refuse dynamic sampling where a batch would have to ask a problem twice. Raises ValueError."""
    wanted = training.generation_batch_size // training.num_generations
    problems = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=training.seed)
    distinct = len({problem.prompt for problem in problems})
    if distinct < wanted:
        raise ValueError(
            f"dynamic_sampling chooses problems, but only {distinct} of them differ, and a step trains on {wanted}; "
            "raise train_problems, widen the tasks' settings, or leave dynamic_sampling out."
        )


def start_model(run: RunConfig, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer that the run starts from."""
    if run.model == "scratch":
        set_seed(seed)
        tokenizer = scratch.build_tokenizer(run.words)
        with unpartitioned():
            return scratch.build_model(run.scratch, tokenizer), tokenizer  # type: ignore[arg-type]
    tokenizer = load_tokenizer(run.model, run.chat)
    model = load_trainable(run, run.model)
    if run.eos_token:  # so that a checkpoint ends its turns wherever it is loaded
        model.generation_config.eos_token_id = list(stop_ids(model, tokenizer))
    return model, tokenizer


def load_trainable(run: RunConfig, name: str) -> PreTrainedModel:
    """The model called `name`, in the precision that `run` trains in."""
    return load_model(name, dtype=run.dtype, is_trainable=True, quantised=four_bits() if run.load_in_4bit else {})


def adapters(run: RunConfig) -> LoraConfig | None:
    """The LoRA adapters that the run trains; None where it trains all weights."""
    if not run.lora_rank:
        return None
    return LoraConfig(r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")


def train(run: RunConfig, training: GRPOConfig) -> str | None:
    """Train the run to its end. Returns None, or what the collapse guard has to say. Raises Interrupted."""
    set_seed(training.seed)
    take_deepspeed(training)
    checkpoints = run.folder / "checkpoints"
    model, tokenizer = start_model(run, training.seed)
    peft_config = None if hasattr(model, "peft_config") else adapters(run)
    resumed = resume_point(checkpoints) if run.resume else None
    with trackers(run, training), StopSignals() as signals:
        if run.cold_start_steps:
            path = cold_started(run, training, resumed)
            if path is None:
                cold_start(model, tokenizer, run, training, peft_config, StopWhenAsked(signals))
                take_deepspeed(training)
            model, peft_config = load_trainable(run, str(path or checkpoints / COLD_START)), None
        return reinforce(model, tokenizer, run, training, peft_config, StopWhenAsked(signals), resumed)


def cold_started(run: RunConfig, training: GRPOConfig, resumed: Path | None) -> Path | None:
    """What reinforcement can begin with: a whole cold start, or, where that is lost, the checkpoint to resume from.

    None where the cold start is still to be done; so it is, too, where it is lost and rewards are held against it.
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
    rollouts = RolloutLog(run.folder / "rollouts.parquet", rank)
    guard = CollapseGuard(run.guard_fraction, run.folder / "checkpoints")
    metrics = run.folder / "metrics.jsonl"
    if run.resume and rank == 0:
        step = step_of(resumed) if resumed else -1
        rollouts.forget_after(step)
        truncate_metrics(metrics, "rl", step)
        say(f"Resuming from {resumed}." if resumed else "No checkpoint was saved yet; reinforcement starts anew.")
    reward = CorrectnessReward(
        tokenizer, stop_ids(model, tokenizer), rollouts, mask_truncated=training.mask_truncated_completions
    )
    terms = run.reward_terms
    training.reward_weights = [term.weight for term in terms]
    problems = problem_dataset(run, "train", run.train_problems, training.seed)
    training.eval_on_start = training.eval_on_start and resumed is None  # done before the run was cut off
    trainer = ReasoningTrainer(
        model=model,
        reward_funcs=reward_functions(terms, reward, training.max_completion_length),
        args=training,
        train_dataset=problems,
        eval_dataset=problem_dataset(run, "validation", run.validation_problems, 0)
        if run.validation_problems
        else None,
        processing_class=tokenizer,
        peft_config=peft_config,
        backend=run.backend,
        cache_gib=run.cache_gib,
        thinking=None if run.thinking_budget is None else thinking_within(tokenizer, run.thinking_budget),
        nonfinite=NonFiniteGuard(run.folder / "nonfinite", run.nonfinite_limit),
        dynamic_sampling=DynamicSampling(problems["problem"], reward, run.screening_samples, run.oversample)
        if run.dynamic_sampling
        else None,
        accepted=(lambda: reward.accepted) if run.method == "rft" else None,
        callbacks=[
            ReportingGuards(),
            MetricsFile(metrics, "rl"),
            ProgressBar("reinforcement"),
            guard,
            stop,
            KeepCheckpoints(run.folder / "checkpoints", run.keep_last, run.keep_best),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    log_last(trainer, run.folder / TENSORBOARD, step_of(resumed) if resumed else -1)
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
