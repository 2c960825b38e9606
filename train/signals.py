"""Stopping in good order: SIGINT (Ctrl-C) and SIGTERM (a scheduler's pre-emption) end a run after the step in hand."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

ECHO = 2.0  # seconds: a terminal and a launcher both pass on the signal that a person sent once


class Interrupted(Exception):
    """The run was asked to stop, and has saved where it stands."""


class StopSignals:
    """While it is entered, a first signal is noted, and a second one ends the process at once."""

    def __init__(self) -> None:
        self.first: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
            name = signal.Signals(number).name
            # Not print: a handler may interrupt another write to the same buffer.
            os.write(2, f"\n{name}: stopping after this step, saved; once more to stop at once.\n".encode())
        elif now - self.first > ECHO:
            os._exit(128 + number)


class StopWhenAsked(TrainerCallback):
    """Saves and ends the training where any of the processes was asked to; all find out at the same step."""

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals
        self.stopped = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save what the step has done, and stop."""
        if self._asked(args):
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """An evaluation is long: do not begin another step after it."""
        self.on_step_end(args, state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What had to be saved has been saved just now."""
        control.should_training_stop |= self._asked(args)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Tell a run that was broken off from one that had no more steps to do."""
        self.stopped &= state.global_step < state.max_steps

    def _asked(self, args: TrainingArguments) -> bool:
        """Whether any process was; all of them must call this together."""
        asked = self.signals.first is not None
        if PartialState().num_processes > 1:
            asked = bool(reduce(torch.tensor(float(asked), device=args.device), reduction="sum") > 0)
        self.stopped |= asked
        return asked
