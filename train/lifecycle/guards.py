"""Guards against slow failures of reinforcement learning: each warns once, and marks it in the metrics.

Each compares the mean of the last WINDOW logged steps with that of the first ones. None of them stops a run.
"""

import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

WINDOW = 8


@dataclass
class Guard:
    """`trips(first, last)` gets the means of a metric over the first and the last WINDOW logged steps."""

    name: str
    metric: str
    trips: Callable[[float, float], bool]
    meaning: str
    first: list[float] = field(default_factory=list)
    last: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    has_warned: bool = False

    def take(self, logs: dict[str, Any]) -> bool:
        """Record a logged step; returns whether the guard trips."""
        value = logs.get(self.metric)
        if value is None or not math.isfinite(value):  # one NaN would make every mean NaN, which trips nothing
            return False
        if len(self.first) < WINDOW:
            self.first.append(float(value))
        self.last.append(float(value))
        return len(self.last) == WINDOW and self.trips(sum(self.first) / WINDOW, sum(self.last) / WINDOW)


def guards() -> list[Guard]:
    """The guards of a run."""
    return [
        Guard(
            "no_variance", "frac_reward_zero_std", lambda _, last: last > 0.95,
            "nearly every group has one and the same reward, so there is nothing to learn from: the problems are too "
            "easy or too hard, or the format is not met",
        ),
        Guard(
            "entropy_collapse", "entropy", lambda first, last: last < 0.1 * first,
            "the entropy has fallen to less than a tenth of what it was, so samples are alike; lower learning_rate",
        ),
        Guard(
            "thinking_collapse", "thinking_tokens", lambda first, last: last < 0.25 * first,
            "thinking has shrunk to less than a quarter of its length; without a cold start small models stop thinking",
        ),
        Guard(
            "thinking_runaway", "thinking_tokens", lambda first, last: last > 4 * first > 0,
            "thinking has grown to more than four times its length; look at the rollouts for loops",
        ),
        Guard(
            "logprob_gap", "logprob_gap/mean", lambda first, last: last > max(10 * first, 1e-3),
            "the engine's log-probabilities drift away from the trainer's",
        ),
        Guard(
            "repetition", "repetition", lambda first, last: last > max(2 * first, 0.5),
            "more than half of what is sampled repeats itself; lower learning_rate, or shorten max_completion_length",
        ),
        Guard(
            "truncated", "truncated", lambda _, last: last > 0.5,
            "more than half of the rollouts are cut off, and teach nothing; raise max_completion_length",
        ),
    ]  # fmt: skip


class ReportingGuards(TrainerCallback):
    """Runs every guard at each logged step, ahead of the metrics file, which then has the guards that tripped."""

    def __init__(self) -> None:
        self.guards = guards()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Replay the log of a resumed run, so that no warning is repeated."""
        for logs in state.log_history:
            for guard in self.guards:
                guard.has_warned |= guard.take(logs)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Mark what trips as `guard/NAME`, and say it the first time."""
        for guard in self.guards:
            if not guard.take(logs):
                continue
            logs[f"guard/{guard.name}"] = 1.0
            if state.is_world_process_zero and not guard.has_warned:
                tqdm.write(f"warning: step {state.global_step}: {guard.meaning}.", file=sys.stderr)
            guard.has_warned = True
