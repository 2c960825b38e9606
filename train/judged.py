"""Completions with their verdicts: the rows that training and evaluation both write down, so that they never differ."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from data.mixture import judge_all
from data.problem import Problem
from data.response import Response
from train.prompts import token_counts

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
    problems: Sequence[Problem],
    completions: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    opened: bool,
    truncated: Sequence[bool],
) -> list[tuple[dict[str, Any], Response]]:
    """The row of each completion, `COLUMNS` and its `answer_tokens`, and its thinking and answer.

    `opened` says that the prompts ended with `<think>`. A completion that was cut off is never correct.
    """
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in completions]
    verdicts = judge_all(problems, texts, thinking_opened=opened)
    rows = []
    for problem, ids, text, cut, (response, verdict) in zip(
        problems, completions, texts, truncated, verdicts, strict=True
    ):
        thinking, answer = token_counts(tokenizer, ids, opened)
        row = {
            "task": problem.task,
            "problem": problem.to_json(),
            "prompt": problem.prompt,
            "completion": text,
            "correct": verdict.correct and not cut,
            "format": verdict.format,
            "reason": "cut off" if cut else verdict.reason,
            "error": verdict.error,
            "truncated": cut,
            "thinking_tokens": thinking,
            "answer_tokens": answer,
        }
        rows.append((row, response))
    return rows
