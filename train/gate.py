"""The gate finds all mistakes that can be found before any work. Each refusal is one line.

Evaluation and probes run the checks of any model that is sampled from as well (`eval.sampling.candidate`): its template
and tokenizer (`check_chat`, `check_prompts`), its context (`check_context`), and whether the engine gives what the
model's own forward gives (`check_support`). A sweep's dry run asks the whole gate.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from huggingface_hub import HfApi
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig

from data.contamination import overlaps
from data.mixture import draw_problems, held_out
from data.problem import Problem
from data.tasks import get_task
from data.terminal import say
from train.cold_start import limits_of, training_set
from train.config.qlora import check_quantised
from train.config.run_config import RunConfig
from train.config.trl_vllm import check_vllm
from train.distributed.zero import unpartitioned
from train.lifecycle.trackers import check_trackers
from train.model.chat_checks import check_chat, check_prompts
from train.model.context import check_context
from train.model.dropout import refuse_dropout
from train.model.positions import count_from_mask, refuse_shifted
from train.model.prompts import messages, thinking_within
from train.model.start import start_model
from train.rewards.functions import check_own_rewards
from train.rollout.engine import RolloutEngine, check_support
from train.rollout.interface import Sampling
from train.rollout.support import context_length

TEST_PROBLEMS = 100  # of each procedural task, compared with the training problems; of fixed sets all are


def check_training(run: RunConfig, training: GRPOConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Check all that a run needs but its folder; returns its model and tokenizer. Raises ValueError in one line."""
    check_trackers(training)
    check_vllm(run, training)
    check_quantised(run, training)
    check_reward_weights(run, training)
    check_machine(run, training)
    check_hub(training)
    validation = draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
    with unpartitioned():
        model, tokenizer = start_model(run, training.seed, training.chat_template_kwargs)
    check_chat(model, tokenizer, system=bool(run.system_prompt))
    problems = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=training.seed) + validation
    check_prompts(tokenizer, problems, run.system_prompt)
    if run.model == "scratch":
        check_words(tokenizer, problems)
    context = context_length(model)
    prompt = check_context(context, tokenizer, problems, run.system_prompt, training.max_completion_length)
    if run.thinking_budget is not None:
        thinking_within(tokenizer, run.thinking_budget)  # refuses a tokenizer that lacks the tags
    if run.trace_settings and not run.resume:
        training_set(tokenizer, run, training.seed, limits_of(model, training))  # says what it leaves out, and why
    examples = [
        {"prompt": messages(problem, run.system_prompt), "problem": problem.to_json(), "split": "train"}
        for problem in (problems * 2)[:2]
    ]
    check_own_rewards(run.reward_terms, examples)
    if run.dynamic_sampling:
        check_choice(run, training)
    if training.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise ValueError(f"gradient_checkpointing is set, which {type(model).__name__} does not do; leave it out.")
    check_support(model, run.backend, moves_to_gpu=uses_gpu(training))
    if run.backend == "engine":
        refuse_dropout(model, training.disable_dropout)
    count_from_mask(model)
    refuse_shifted(model)
    if run.backend == "engine" and not uses_gpu(training):
        check_memory(model, prompt, run, training)
    return model, tokenizer


def check_memory(model: PreTrainedModel, prompt: list[int], run: RunConfig, training: GRPOConfig) -> None:
    """Take one step of the engine with the run's own sampling and memory. Raises ValueError where it cannot.

    Whatever token is drawn ends the rollout, but room is made for the longest one, whose `prompt` this is.
    """
    engine = RolloutEngine(model, cache_gib=run.cache_gib, trial=False)
    sampling = Sampling(
        max_new_tokens=training.max_completion_length,
        stop_ids=tuple(range(engine.vocabulary)),
        temperature=training.temperature,
        top_p=training.top_p,
        top_k=training.top_k,
        min_p=training.min_p or 0.0,
    )
    engine.generate([prompt], 1, sampling)


def check_reward_weights(run: RunConfig, training: GRPOConfig) -> None:
    """Refuse weights that are not one for each reward. Raises ValueError."""
    weights = training.reward_weights
    if weights is not None and run.rewards is not None:
        raise ValueError(
            f"reward_weights is {weights}, and rewards is set; give the weights there, such as rewards: {{correct: 1, "
            "format: 0.2}."
        )
    if weights is not None and len(weights) != 1:
        raise ValueError(f"reward_weights is {weights}; expected 1, one for each reward function.")
    if weights is not None and weights[0] <= 0:
        raise ValueError(f"reward_weights is {weights}, so right answers earn nothing; expected a weight above 0.")


def uses_gpu(training: GRPOConfig) -> bool:
    """Whether the run computes on a CUDA GPU of this machine."""
    return torch.cuda.is_available() and not training.use_cpu


def check_machine(run: RunConfig, training: GRPOConfig) -> None:
    """Refuse options that need a package or a GPU that is not there. Raises ValueError."""
    if training.use_liger_kernel and find_spec("liger_kernel") is None:
        raise ValueError("use_liger_kernel is set, but it is not installed: pip install liger-kernel, or leave it out.")
    if training.fp16 and not uses_gpu(training):
        raise ValueError("fp16 is set, which needs a CUDA GPU, and there is none here, or use_cpu is set.")
    if run.deterministic_rollouts and not uses_gpu(training):
        raise ValueError(
            "deterministic_rollouts is set, which needs a CUDA GPU, and there is none here, or use_cpu is set; leave "
            "it out: on a CPU rollouts depend on their batch in the last bits alone."
        )


def check_hub(training: GRPOConfig) -> None:
    """Refuse options that upload to the hub where the hub takes none from here. Raises ValueError."""
    name = next((each for each in ("push_to_hub", "log_completions_hub_repo") if getattr(training, each)), None)
    if name is None:
        return
    try:
        HfApi().whoami(token=training.hub_token)
    except Exception as error:  # no token, no network, a refusal
        raise ValueError(
            f"{name} is set, but the hub does not take uploads from here ({type(error).__name__}); log in with "
            "`hf auth login`, or leave it out."
        ) from None


def check_words(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> None:
    """Refuse prompts that a model from scratch cannot read. Raises ValueError."""
    for problem in problems:
        if tokenizer.unk_token_id in tokenizer.encode(problem.prompt):
            raise ValueError(
                f"A model from scratch cannot read the prompt {problem.prompt!r} of {problem.task}: it knows numbers, "
                "signs and the WORDS of its tasks. Add the words there, or take a pre-trained model."
            )


def check_choice(run: RunConfig, training: GRPOConfig) -> None:
    """Refuse dynamic sampling where a batch would have to ask a problem twice. Raises ValueError."""
    groups = training.generation_batch_size // training.num_generations
    problems = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=training.seed)
    distinct = len({problem.prompt for problem in problems})
    if distinct < groups:
        raise ValueError(
            f"dynamic_sampling chooses problems, but only {distinct} of them differ, and a step trains on {groups}; "
            "raise train_problems, widen the tasks' settings, or leave dynamic_sampling out."
        )


def check_contamination(run: RunConfig, seed: int) -> dict[str, Any] | None:
    """Say how far the run's held-out problems overlap with its training problems; None where `contamination` is off.

    Raises ValueError with the worst pair where some overlap and `contamination` is `refuse`.
    """
    if run.contamination == "off":
        return None
    trained = draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=seed)
    sets = {
        "validation": draw_problems(run.parts, "validation", run.validation_problems, run.split_seed),
        "test": held_out(run.parts, "test", run.split_seed, TEST_PROBLEMS),
    }
    procedural = [part.task for part in run.parts if get_task(part.task).draw]
    leaks = {name: overlaps(trained, problems, procedural) for name, problems in sets.items()}
    counts = ", ".join(f"{len(leaks[name])} of {len(problems):,} {name}" for name, problems in sets.items())
    distinct = len({problem.canonical for problem in trained})  # a small set is drawn over and over
    say(f"Contamination: {counts} problems overlap with the {distinct:,} training problems.")
    worst = max((pair for pairs in leaks.values() for pair in pairs), key=lambda pair: pair.share, default=None)
    if worst and run.contamination == "refuse":
        raise ValueError(
            f"contamination is refuse, and held-out problems overlap with training ones ({counts}). The worst, by "
            f"{worst.share:.0%}, is {worst.held_out.prompt[:200]!r} of {worst.held_out.task}, beside the training "
            f"problem {worst.trained.prompt[:200]!r} of {worst.trained.task}. Leave one of the sources out, or set "
            "contamination: report."
        )
    return {
        name: {"problems": len(sets[name]), "overlapping": [pair.as_json() for pair in pairs]}
        for name, pairs in leaks.items()
    }
