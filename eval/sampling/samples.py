"""Samples a checkpoint on held-out problems and describes each sample in one flat row."""

from dataclasses import replace
from typing import cast

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from data.mixture import side_by_side
from data.problem import Problem
from data.tasks import get_task
from eval.measures.lexical import PHRASES, signs
from eval.measures.rows import Counts, SampleRow, TracedCounts, WordedCounts
from eval.sampling.subject import Subject
from train.model import judged
from train.rollout.interface import Rollout, Sampling

TRACED = [
    ("attempts", pa.int32()),
    ("first_correct", pa.bool_()),
    ("right_attempt", pa.bool_()),
    ("steps", pa.int32()),
    ("right_steps", pa.int32()),
    ("slips", pa.int32()),
    ("repairs", pa.int32()),
    ("subgoals", pa.int32()),
]
WORDED = [(f"says_{name}", pa.int32()) for name in PHRASES]
NOT_TRACED = cast(TracedCounts, {name: None for name, _ in TRACED})
NOT_WORDED = cast(WordedCounts, {name: None for name, _ in WORDED})
COLUMNS = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("sample", pa.int32()),
        ("greedy", pa.bool_()),
        *judged.COLUMNS,
        ("answer", pa.string()),
        ("answer_tokens", pa.int32()),
        *TRACED,
        *WORDED,
    ]
)


def sample_checkpoint(name: str, subject: Subject, problems: list[Problem], samples: int) -> list[SampleRow]:
    """Sample each problem `samples` times as `subject` says and once greedily; one row (`COLUMNS`) a completion."""
    greedy = Sampling(subject.sampling.max_new_tokens, subject.sampling.stop_ids, temperature=0.0)
    at_temperature = sample_rows(name, subject, problems, samples)
    best = sample_rows(name, replace(subject, sampling=greedy), problems, 1)
    rows: list[SampleRow] = []
    for number in range(len(problems)):
        rows += [*at_temperature[number * samples : (number + 1) * samples], {**best[number], "sample": samples}]
    return rows


def sample_rows(name: str, subject: Subject, problems: list[Problem], samples: int) -> list[SampleRow]:
    """Sample each problem `samples` times as `subject` says; the rows of one problem are adjacent."""
    rows = described_rows(subject, problems, [subject.prompt(problem) for problem in problems], samples)
    for place, row in enumerate(rows):
        row.update({"checkpoint": name, "sample": place % samples, "greedy": subject.sampling.temperature == 0})
    return rows


def described_rows(
    subject: Subject, problems: list[Problem], prompts: list[list[int]], samples: int
) -> list[SampleRow]:
    """Sample each problem `samples` times by its own one of `prompts`; the row of `describe` for each completion."""
    rollouts = subject.backend.generate(prompts, samples, subject.sampling, subject.progress)
    copies = [problem for problem in problems for _ in range(samples)]
    return side_by_side(
        lambda problem, rollout: describe(problem, rollout, subject.tokenizer, subject.opened), copies, rollouts
    )


def describe(problem: Problem, rollout: Rollout, tokenizer: PreTrainedTokenizerBase, opened: bool) -> SampleRow:
    """Verdict, token counts and the exactly counted behaviours of one completion."""
    truncated = rollout.finish_reason == "length"  # one whose thinking a budget closed still came to its end
    row, response = judged.judged(problem, rollout.token_ids, tokenizer, opened, truncated)
    return {**row, "answer": response.answer, "greedy": False, **counted(problem, response.thinking)}


def counted(problem: Problem, thinking: str) -> Counts:
    """The counts of a thinking: exact ones from its trace, or, where the task has no parser, those of telling words.

    The other kind's counts are None.
    """
    task = get_task(problem.task)
    if task.parse_trace is None:
        phrases = {f"says_{name}": len(spans) for name, spans in signs(thinking).items()}
        return {**NOT_TRACED, **cast(WordedCounts, phrases)}
    trace = task.parse_trace(problem, thinking)
    return {
        **NOT_WORDED,
        "attempts": len(trace.attempts),
        "first_correct": trace.first_correct,
        "right_attempt": any(attempt.correct for attempt in trace.attempts),
        "steps": len(trace.steps),
        "right_steps": sum(step.correct for step in trace.steps),
        "slips": trace.slips,
        "repairs": trace.repairs,
        "subgoals": trace.subgoals,
    }
