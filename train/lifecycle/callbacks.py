"""The callbacks of a run: the metrics file, the progress bar, the guard against collapse, and stopping on request."""

import json
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.files.checkpoints import COLD_START, fault, numbered, step_of
from train.files.untrusted import metrics_parts, read_metrics
from train.lifecycle.signals import StopSignals

WINDOW = 8  # steps whose mean reward the guard compares
PART_BYTES = 2**24  # of metrics.jsonl, some 12,000 steps, before it is rotated


class MetricsFile(TrainerCallback):
    """Appends each logged step to `metrics.jsonl`; a full one becomes `metrics-000.jsonl` and so on, and is kept."""

    def __init__(self, path: Path, phase: str) -> None:
        self.path = path
        self.phase = phase
        self.began = time.monotonic() - _seconds_so_far(path, phase)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Write one line of JSON."""
        if state.is_world_process_zero:
            row = {"phase": self.phase, "step": state.global_step, "seconds": round(time.monotonic() - self.began, 2)}
            # JSON has no NaN, and TRL says None where it has nothing to average.
            finite = {name: value if math.isfinite(value or 0) else None for name, value in logs.items()}
            if self.path.is_file() and self.path.stat().st_size >= PART_BYTES:
                older = len(metrics_parts(self.path)) - 1
                self.path.rename(self.path.with_stem(f"{self.path.stem}-{older:03d}"))
            with self.path.open("a") as file:
                file.write(json.dumps(row | finite) + "\n")


def _seconds_so_far(path: Path, phase: str) -> float:
    """The seconds in the last line of `phase`, so that a resumed run's clock continues."""
    return max((row["seconds"] for row in read_metrics(path) if row["phase"] == phase), default=0.0)


class ProgressBar(TrainerCallback):
    """One bar for the phase, with the figures that matter most."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: tqdm | None = None
        self.tokens = 0.0
        self.began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the bar at the step that the run has reached."""
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", dynamic_ncols=True
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Show reward, accuracy, thinking length and speed in RL; the loss in the cold start."""
        if self.bar is None:
            return
        if "reward" in logs:
            now, tokens = time.monotonic(), float(logs["num_tokens"])
            figures = {"reward": f"{logs['reward']:.2f}", "accuracy": f"{logs['accuracy']:.2f}"}
            figures["useful"] = f"{logs['useful_groups']:.2f}"
            figures["thinking"] = f"{logs['thinking_tokens']:.0f}"
            figures["tok/s"] = f"{(tokens - self.tokens) / (now - self.began):,.0f}"
            self.tokens, self.began = tokens, now
            self.bar.set_postfix(figures)
        elif "loss" in logs:
            self.bar.set_postfix({"loss": f"{float(logs['loss']):.3f}"})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


class CollapseGuard(TrainerCallback):
    """Stops the run when the mean reward of the last steps has fallen far below its best.

    `message` then says what happened and which checkpoint to go back to.
    """

    def __init__(self, fraction: float, checkpoints: Path) -> None:
        self.fraction = fraction
        self.checkpoints = checkpoints
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.best = 0.0
        self.best_step = 0
        self.message: str | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look back over what a resumed run has logged."""
        for logs in state.log_history:
            self._compare(logs, logs["step"])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Compare the window's mean with the best. The logged reward is the same on every rank, so all stop alike."""
        mean = self._compare(logs, state.global_step)
        if mean is not None and mean < self.fraction * self.best:
            self.message = (
                f"Stopped at step {state.global_step}: the mean reward of the last {WINDOW} steps is {mean:.3f}, and "
                f"was {self.best:.3f} at step {self.best_step}. {self._advice()}"
            )
            control.should_training_stop = True

    def _compare(self, logs: dict[str, Any], step: int) -> float | None:
        """Record a logged step; returns the mean reward of a full window, or None."""
        if "reward" not in logs:
            return None
        # Right answers alone: a sum with punishments may be below zero, where a share of the best means nothing.
        self.recent.append(float(logs.get("rewards/correct/mean", logs["reward"])))
        if len(self.recent) < WINDOW:
            return None
        mean = sum(self.recent) / WINDOW
        if mean > self.best:
            self.best, self.best_step = mean, step
        return mean

    def _advice(self) -> str:
        before = [path for path in numbered(self.checkpoints) if step_of(path) <= self.best_step]
        candidates = [*sorted(before, key=step_of, reverse=True), self.checkpoints / COLD_START]
        path = next((path for path in candidates if fault(path) is None), None)
        if path is None:
            return "No checkpoint was saved before that; start anew with a lower learning rate."
        return f"Go back to {path}: a new --name, --model {path}, no cold start, and a lower learning rate."


class StopWhenAsked(TrainerCallback):
    """Saves and ends the training once any process was asked to stop. All processes learn of it at the same step."""

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals
        self.stopped = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save what the step has done, and stop."""
        if self._asked(args):
            control.should_save = control.should_training_stop = True

    on_evaluate = on_step_end  # an evaluation is long: do not begin another step after it

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint is written, so a run that was asked to stop can stop."""
        control.should_training_stop |= self._asked(args)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A run that has done all its steps was not cut off."""
        self.stopped &= state.global_step < state.max_steps

    def _asked(self, args: TrainingArguments) -> bool:
        """Whether any process was asked to stop. All processes must call this together."""
        stopping = self.signals.first is not None
        if PartialState().num_processes > 1:
            stopping = bool(reduce(torch.tensor(float(stopping), device=args.device), reduction="sum") > 0)
        self.stopped |= stopping
        return stopping
