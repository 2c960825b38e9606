"""The rewards of a run as functions that TRL calls, each weighted and logged apart (`rewards/NAME/mean`).

`CorrectnessReward` comes first and calls the verifier once; the others read the rows that it made.
"""

from collections.abc import Sequence
from typing import Any, Literal

from transformers import TrainerState
from trl.rewards import get_soft_overlong_punishment

from train.config.reward_terms import Term
from train.rewards.correctness import CorrectnessReward
from train.rewards.own import OwnReward, try_out

DEFAULT_BUFFER = 5  # the share of the longest completion, one in so many, in which DAPO punishes length


class RowReward:
    """A reward that reads one number of each judged row: its `score`, or its `format`."""

    def __init__(self, name: Literal["score", "format"], correct: CorrectnessReward) -> None:
        self.__name__: Literal["score", "format"] = name
        self.correct = correct

    def __call__(self, **_: Any) -> list[float]:
        """The rewards of the batch that was judged just now."""
        return [float(row[self.__name__]) for row in self.correct.rows]


class OverlongReward:
    """DAPO's soft over-long punishment (arXiv 2503.14476, eq. 13): from 0 down to -1 over the last `buffer` tokens."""

    __name__ = "overlong"

    def __init__(self, longest: int, buffer: int) -> None:
        self.punish = get_soft_overlong_punishment(longest, buffer)

    def __call__(self, *, completion_ids: list[list[int]], **_: Any) -> list[float]:
        """The punishments of completions, -1 to 0."""
        return list(self.punish(completion_ids))


class OwnWithRows(OwnReward):
    """A user's function, which also receives `rollouts`: copies of the rows that `rollouts.parquet` keeps."""

    def __init__(self, source: str, correct: CorrectnessReward) -> None:
        super().__init__(source)
        self.correct = correct

    def __call__(self, *, completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
        """The function's rewards. Raises RewardError, naming the function."""
        columns.pop("judged_rows", None)  # those of dynamic sampling, which are the same
        rows = self.correct.rows
        # TRL decodes without special tokens, which thinking tags are in many tokenizers.
        columns["completions"] = [[{"role": "assistant", "content": row["completion"]}] for row in rows]
        return super().__call__(completion_ids=completion_ids, rollouts=[dict(row) for row in rows], **columns)


def reward_functions(terms: Sequence[Term], correct: CorrectnessReward, longest: int) -> list[Any]:
    """A function for each term, in their order; `longest` is the length of the longest completion, in tokens.

    Raises ValueError for a function of the user's that cannot be imported.
    """
    return [_function(term, correct, longest) for term in terms]


def _function(term: Term, correct: CorrectnessReward, longest: int) -> Any:
    if term.is_own:
        return OwnWithRows(term.source, correct)
    if term.source == "overlong":
        return OverlongReward(longest, term.buffer or max(1, longest // DEFAULT_BUFFER))
    if term.source == "correct":
        return correct
    return RowReward("format" if term.source == "format" else "score", correct)


def check_own_rewards(terms: Sequence[Term], examples: Sequence[dict[str, Any]]) -> None:
    """Try every function of the user on two rows of the training set. Raises ValueError naming the one that fails."""
    rows = [{"correct": False, "format": False, "truncated": False, "score": 0.0, "thinking_tokens": 1}] * 2
    extras = {"trainer_state": TrainerState(), "log_extra": _ignore, "log_metric": _ignore}
    for term in terms:
        if term.is_own:
            try_out(OwnReward(term.source), examples, extras | {"rollouts": rows})


def _ignore(*_: Any) -> None:
    """Stands in for TRL's logging while a function is tried."""
