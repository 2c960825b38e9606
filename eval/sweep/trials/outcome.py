"""How an attempt at a run ended, read from its exit code and its output."""

import re
import signal
from dataclasses import dataclass

from eval.sweep.trials.records import State

LINES = 15  # of output that are kept, the last ones
# Both launchers exit with 1 whatever the training's own code was, and say which: accelerate's in the words of
# subprocess.CalledProcessError, torchrun's in its table of failures, whose last one is the root cause.
TOLD = re.compile(
    r"returned non-zero exit status (?P<code>\d+)\."
    r"|died with <Signals\.\w+: (?P<signal>\d+)>"
    r"|exitcode\s*: (?P<rank>-?\d+)"
)
LAUNCHER = re.compile(
    r"Traceback \(most recent call last\):\n(?:(?!.*Traceback \(most).*\n)*?"
    r".*(?:accelerate/commands/|torch/distributed/run)"
)
BAR = re.compile(r"\d+%\|")  # a progress bar


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt: the state of its run if nobody tries again, in words, and `train`'s own exit code."""

    state: State
    words: str
    code: int
    said: tuple[str, ...]


def read_outcome(exit_code: int, text: str) -> Outcome:
    """The outcome that the exit code and the output of a launch show."""
    code = train_code(exit_code, text)
    meanings: dict[int, tuple[State, str]] = {
        0: ("done", "done"),
        2: ("refused", "refused before any work"),
        3: ("guard", "stopped by a guard"),
        4: ("failed", "failed: stopped by a signal that the sweep did not send"),
        5: ("failed", "failed: the disk is full, or no checkpoint is whole"),
    }
    state, words = meanings.get(code, ("failed", f"failed: {_cause(code)}"))
    return Outcome(state, words, code, last_lines(text))


def train_code(exit_code: int, text: str) -> int:
    """The exit code of the training process behind its launcher; minus the signal's number where one ended it."""
    lines = list(TOLD.finditer(text)) if exit_code else []
    if not lines:
        return 128 - exit_code if exit_code > 128 else exit_code
    last = lines[-1]
    return -int(last["signal"]) if last["signal"] else int(last["code"] or last["rank"])


def last_lines(text: str) -> tuple[str, ...]:
    """The last lines of the training's output, without the launcher's own traceback and without progress bars."""
    ends = [match.start() for match in LAUNCHER.finditer(text)]
    lines = (line.rsplit("\r", 1)[-1].rstrip() for line in text[: ends[-1] if ends else None].split("\n"))
    return tuple(line for line in lines if line and not BAR.search(line))[-LINES:]


def _cause(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")
    return "another of its processes died" if code == 6 else f"exit code {code}"
