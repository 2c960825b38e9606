"""The rewards of a run's configuration: named terms with weights.

    rewards: [correct, format]
    rewards: {correct: 1, score: 0.5, overlong: {weight: 0.5, buffer: 128}, my/rewards.py:brevity: 0.1}

`correct` is 1 where the task's verifier accepts the answer, else 0. `score` is the task's own graded score, 0 to 1.
`format` is 1 where the form is right. `overlong` punishes length as DAPO does: 0 up to `buffer` tokens below
max_completion_length, then falling to -1. Anything with a colon is the user's own function, with TRL's signature.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.settings import number_of

BUILT_IN = ("correct", "score", "format", "overlong")
RESERVED = {"weight", "buffer"}


@dataclass(frozen=True, slots=True)
class Term:
    """One reward: what it is called in the logs, its weight in the sum, and what computes it.

    `source` is one of `BUILT_IN`, or `my/module.py:function`. `buffer` is that of `overlong`, in tokens; None takes a
    fifth of the longest completion, as DAPO did (4,096 of 20,480).
    """

    name: str
    source: str
    weight: float = 1.0
    buffer: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is a function of the user's."""
        return self.source not in BUILT_IN


def read_terms(rewards: Any) -> list[Term]:
    """The terms of `rewards`: a list of names, or a mapping of names to weights; None is `correct` alone.

    Where `correct` is not among them it is there with weight 0, since every run records it. It always comes first.
    Raises ValueError for an invalid entry.
    """
    terms = [_term(str(source), value) for source, value in _pairs(rewards)]
    names = [term.name for term in terms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"rewards has two that would be logged as {twice!r}; give one of the functions another name.")
    if not any(term.weight for term in terms):
        raise ValueError(f"rewards is {rewards!r}, and every weight is 0; expected at least one above 0.")
    correct = next((term for term in terms if term.source == "correct"), Term("correct", "correct", 0.0))
    return [correct, *(term for term in terms if term.source != "correct")]


def _pairs(rewards: Any) -> list[tuple[Any, Any]]:
    if rewards is None:
        return [("correct", 1.0)]
    if isinstance(rewards, str):  # on the command line: JSON, or names with commas between them
        try:
            rewards = json.loads(rewards)
        except json.JSONDecodeError:
            rewards = [name.strip() for name in rewards.split(",")]
    if isinstance(rewards, Mapping) and rewards:
        return list(rewards.items())
    if isinstance(rewards, Sequence) and not isinstance(rewards, str) and rewards:
        return [(name, 1.0) for name in rewards]
    raise ValueError(
        f"rewards is {rewards!r}; expected a list such as [correct, format], or a mapping of names to weights such as "
        "{correct: 1, format: 0.2}."
    )


def _term(source: str, value: Any) -> Term:
    settings = value if isinstance(value, Mapping) else {"weight": value}
    if unknown := settings.keys() - (RESERVED if source == "overlong" else {"weight"}):
        raise ValueError(f"rewards.{source} has the setting {sorted(unknown)[0]!r}; expected a weight.")
    weight, buffer = number_of(settings.get("weight", 1.0)), settings.get("buffer")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise ValueError(f"rewards.{source} has the weight {weight!r}; expected a number of 0 or more.")
    if buffer is not None and (isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1):
        raise ValueError(f"rewards.overlong.buffer is {buffer!r}; expected a whole number of tokens, 1 or more.")
    if source in BUILT_IN:
        return Term(source, source, float(weight), buffer)
    module, colon, function = source.rpartition(":")
    if not (colon and module and function.isidentifier()):
        raise ValueError(
            f"rewards names {source!r}; expected {', '.join(BUILT_IN)}, or a function of yours as my/module.py:name."
        )
    return Term(function, source, float(weight))
