"""Holds a run on a leash: it ends when the sweep that started it asks for it, or dies in whatever way.

    python -m eval.sweep.trials.leash accelerate launch -m train ...

The sweep holds the other end of this process's standard input and never writes to it. When that end closes, the
training processes are sent SIGTERM: they finish their step, save and end. Those that remain after GRACE are killed.
The exit code is the command's, or 128 and the number of the signal that ended it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

GRACE = 600.0  # seconds; a step of a large model may take minutes


def main() -> int:
    """Run the command that the arguments are; returns its exit code."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)  # whom it ends must be its own
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    let_go = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(child, let_go), daemon=True).start()
    code = child.wait()
    while let_go.is_set() and members(os.getpgid(0)):  # a launcher dies at once, its training after a step
        time.sleep(0.1)
    return code if code >= 0 else 128 - code


def _wait_for_the_end(child: subprocess.Popen[bytes], let_go: threading.Event) -> None:
    os.read(0, 1)  # not sys.stdin, whose lock the interpreter wants when it ends
    let_go.set()
    # The launcher's processes and not the launcher: that would end without them, and their exit code be lost.
    workers = psutil.Process(child.pid).children() if child.poll() is None else []
    for process in workers or members(os.getpgid(0)):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def members(group: int) -> list[psutil.Process]:
    """The processes of a group, without this one and the zombies."""
    descendants = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and os.getpgid(process.pid) == group and process.status() != "zombie":
                descendants.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return descendants


if __name__ == "__main__":
    sys.exit(main())
