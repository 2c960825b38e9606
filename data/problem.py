"""`Problem`, what is asked, and `Verdict`, what the verifier says of an answer."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One question whose answer can be checked.

    `canonical` names the content whatever its wording or order ("countdown 2 6 8 = 10"): two problems with the same
    canonical text are the same problem, and train, validation and test never share one. `facts` is what the task's
    verifier needs, plain JSON values only.
    """

    task: str
    prompt: str
    canonical: str
    facts: dict[str, Any]

    def to_json(self) -> str:
        """The problem as one line of JSON, the form in which data sets and run folders carry it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Problem":
        """The inverse of `to_json`."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verifier's judgement of one response.

    `correct` implies `format`. `reason` tells a reader why, in a few words. `error` is set where the verifier itself
    failed: such a verdict is never correct, and is counted apart.

    `score` is the task's own graded score, from 0 to 1: 1 where the response is correct, less than 1 where it is not.
    It is None where the task has no graded score, as with Countdown and arithmetic, where the response has no answer,
    and where the verifier failed; whoever needs a number then takes `float(correct)`.
    """

    correct: bool
    format: bool
    reason: str
    error: str | None = None
    score: float | None = None
