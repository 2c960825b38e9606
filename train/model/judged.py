"""A completion with its verdict: the row that training and evaluation both write down, so that they never differ."""

from collections.abc import Sequence

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from data.mixture import judge
from data.problem import Problem, Verdict
from data.response import Response
from train.model.judged_row import JudgedRow
from train.model.prompts import completion_text, token_counts

COLUMNS = [
    ("task", pa.string()),
    ("problem", pa.string()),
    ("prompt", pa.string()),
    ("completion", pa.string()),
    ("correct", pa.bool_()),
    ("format", pa.bool_()),
    ("reason", pa.string()),
    ("error", pa.string()),
    ("truncated", pa.bool_()),
    ("thinking_tokens", pa.int32()),
]


def judged(
    problem: Problem, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, opened: bool, truncated: bool
) -> tuple[JudgedRow, Response]:
    """The row of a completion, and its thinking and answer.

    `opened` says that the prompt ended with `<think>`. A completion that was cut off is never correct.
    """
    completion = completion_text(tokenizer, ids)
    response, verdict = judge(problem, completion, thinking_opened=opened)
    thinking, answer = token_counts(tokenizer, ids, opened)
    row: JudgedRow = {
        "task": problem.task,
        "problem": problem.to_json(),
        "prompt": problem.prompt,
        "completion": completion,
        "correct": verdict.correct and not truncated,
        "format": verdict.format,
        "reason": "cut off" if truncated else verdict.reason,
        "error": verdict.error,
        "truncated": truncated,
        "thinking_tokens": thinking,
        "answer_tokens": answer,
        "score": score(verdict) if not truncated else 0.0,
    }
    return row, response


def score(verdict: Verdict) -> float:
    """The task's graded score, 0 to 1; where it has none, 1 for a correct answer and 0 for any other."""
    return float(verdict.correct) if verdict.score is None else verdict.score
