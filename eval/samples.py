"""Sampling a checkpoint on held-out problems, and what each sample did, as one flat row."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from data.mixture import judge
from data.problem import Problem
from data.tasks import get_task
from train.prompts import messages, opens_thinking, prompt_ids, token_counts
from train.rollout.interface import Rollout, RolloutBackend, Sampling

COLUMNS = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("problem", pa.string()),
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("sample", pa.int32()),
        ("greedy", pa.bool_()),
        ("completion", pa.string()),
        ("correct", pa.bool_()),
        ("format", pa.bool_()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("truncated", pa.bool_()),
        ("thinking_tokens", pa.int32()),
        ("answer_tokens", pa.int32()),
        ("attempts", pa.int32()),
        ("first_correct", pa.bool_()),
        ("right_attempt", pa.bool_()),
        ("steps", pa.int32()),
        ("right_steps", pa.int32()),
        ("slips", pa.int32()),
        ("repairs", pa.int32()),
        ("subgoals", pa.int32()),
    ]
)


def sample_checkpoint(
    name: str,
    backend: RolloutBackend,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    samples: int,
    sampling: Sampling,
    system_prompt: str = "",
    on_finished: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Sample each problem `samples` times as `sampling` says and once greedily; one row (`COLUMNS`) a completion."""
    opened = opens_thinking(tokenizer)
    prompts = [prompt_ids(tokenizer, messages(problem, system_prompt)) for problem in problems]
    greedy = Sampling(sampling.max_new_tokens, sampling.stop_ids, temperature=0.0)
    drawn = backend.generate(prompts, samples, sampling, on_finished)
    best = backend.generate(prompts, 1, greedy, on_finished)
    rows = []
    for number, problem in enumerate(problems):
        group = [*drawn[number * samples : (number + 1) * samples], best[number]]
        for sample, rollout in enumerate(group):
            row = describe(problem, rollout, tokenizer, opened)
            rows.append(row | {"checkpoint": name, "sample": sample, "greedy": sample == samples})
    return rows


def describe(problem: Problem, rollout: Rollout, tokenizer: PreTrainedTokenizerBase, opened: bool) -> dict[str, Any]:
    """Verdict, token counts and the exactly counted behaviours of one completion."""
    completion = tokenizer.decode(rollout.token_ids, skip_special_tokens=True)
    response, verdict = judge(problem, completion, thinking_opened=opened)
    trace = get_task(problem.task).parse_trace(problem, response.thinking)
    truncated = rollout.finish_reason != "stop"
    thinking, answer = token_counts(tokenizer, rollout.token_ids, opened)
    return {
        "problem": problem.to_json(),
        "task": problem.task,
        "prompt": problem.prompt,
        "completion": completion,
        "correct": verdict.correct and not truncated,
        "format": verdict.format,
        "reason": "cut off" if truncated else verdict.reason,
        "error": verdict.error,
        "truncated": truncated,
        "thinking_tokens": thinking,
        "answer_tokens": answer,
        "attempts": len(trace.attempts),
        "first_correct": trace.first_correct,
        "right_attempt": any(attempt.correct for attempt in trace.attempts),
        "steps": len(trace.steps),
        "right_steps": sum(step.correct for step in trace.steps),
        "slips": trace.slips,
        "repairs": trace.repairs,
        "subgoals": trace.subgoals,
    }
