"""The fields of a judged completion, apart from the code that fills them: the report reads rows without torch."""

from typing import TypedDict


class JudgedRow(TypedDict):
    """The facts of a completion that training and evaluation share."""

    task: str
    problem: str  # `Problem.to_json`: the problem's identity wherever rows are paired
    prompt: str
    completion: str  # thinking, tags and answer, as decoded
    correct: bool  # the verifier's word; never for a completion that was cut off
    format: bool
    reason: str
    error: str | None  # the verifier's own failure, which never scores
    truncated: bool
    thinking_tokens: int
    answer_tokens: int  # stored by evaluation alone
    score: float  # graded, 0 to 1; not stored
