"""The rows that measures read: what is known of one completion, field by field."""

from typing import NotRequired, TypedDict

from train.model.judged_row import JudgedRow


class ProblemRow(TypedDict):
    """The least that a measure needs: rates are paired and resampled by problem, and split by task."""

    problem: str
    task: str


class Outcome(ProblemRow):
    """How a completion and its attempts ended."""

    correct: bool
    first_correct: bool | None  # the first attempt; None where the thinking made none
    right_attempt: bool | None  # whether some attempt was right; None where the task has no parser


class TracedCounts(TypedDict):
    """What the task's parser counts in a thinking; all None where the task has no parser."""

    attempts: int | None
    first_correct: bool | None
    right_attempt: bool | None
    steps: int | None
    right_steps: int | None
    slips: int | None
    repairs: int | None
    subgoals: int | None


class WordedCounts(TypedDict):
    """How often a thinking's words give a behaviour away (`eval.measures.lexical`); None where a parser counts."""

    says_verification: int | None
    says_backtracking: int | None
    says_subgoals: int | None
    says_backward_chaining: int | None


class Counts(TracedCounts, WordedCounts):
    """Both ways of counting: a thinking has the counts of one of them, and None for the other."""


class SampleRow(JudgedRow, Counts):
    """One sample of an evaluation, as `eval.sampling.samples` makes it and `samples-N.parquet` stores it."""

    answer: str  # the text behind the thinking
    greedy: bool  # sampled at temperature 0
    checkpoint: NotRequired[str]  # absent where one table holds one checkpoint, as a budget's does
    sample: NotRequired[int]  # the sample's number among those of its problem
