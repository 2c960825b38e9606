"""Clean stops: SIGINT (Ctrl-C) and SIGTERM (a scheduler's pre-emption) end a run after the current step."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

ECHO = 2.0  # seconds: a terminal and a launcher both pass on the signal that a person sent once


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state."""


class StopSignals:
    """Within the context, the first signal is recorded and acknowledged, and a second one ends the process at once."""

    def __init__(self, answer: str = "stopping after this step, saved") -> None:
        self.answer = answer
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
            os.write(2, f"\n{name}: {self.answer}; once more to stop at once.\n".encode())
        elif now - self.first > ECHO:
            os._exit(128 + number)
