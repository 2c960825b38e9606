"""The inside of one place in a pool: a keeper that imports the function once, and its worker, which calls it.

`data.workers.pool` starts it as `python -m data.workers.worker MODULE:FUNCTION MEMORY_MIB SECONDS PARENT`. The keeper
forks a worker. It reads requests and writes replies, each one line of JSON with the request's number, until it ends or
the pool kills it. The keeper reports that and forks the next worker, whose imports are already done. So a killed worker
costs milliseconds.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1  # prctl(2)
CHUNK = 2**16
MARK = b"\x02"  # begins a request; no JSON holds it, so what is left of a request cannot pass for one
CLOSED = 3  # exit code of a worker whose pool closed the pipe


def main() -> None:
    """Keep a worker until the pool closes its end."""
    target, memory_mib, seconds, parent = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the function's own prints are no replies
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the run, which needs its verdicts to stop in good order
    die_with(int(parent))
    try:
        function = load(target)
    except Exception as error:
        write(channel, {"failed": describe(error)})
        return
    status = 0
    while os.waitstatus_to_exitcode(status) != CLOSED:
        keeper = os.getpid()
        worker = os.fork()
        if not worker:
            die_with(keeper)
            serve(function, channel, int(memory_mib) * 2**20, float(seconds))
        write(channel, {"worker": worker})
        _, status = os.waitpid(worker, 0)
        drain(0)
        write(channel, {"ended": os.waitstatus_to_exitcode(status)}, on_a_line_of_its_own=True)


def serve(function: Callable[[Any], Any], channel: Any, memory: int, seconds: float) -> None:
    """Answer until the pool closes its end, or until the process holds so much memory that a fresh worker is safer."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for line in os.fdopen(0, "rb"):
        if not line.startswith(MARK):  # an empty line, or the rest of a request that a killed worker had half read
            continue
        signal.setitimer(signal.ITIMER_PROF, seconds)  # counts processor time; nobody handles its signal, which kills
        number, _, request = line.removeprefix(MARK).partition(b" ")
        reply = answer(function, request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply |= {"to": int(number), "last": memory_held() > memory / 2}
        write(channel, reply)
        if reply["last"]:
            os._exit(0)
    os._exit(CLOSED)


def die_with(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(CLOSED)


def memory_held() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def drain(pipe: int) -> None:
    """Drop the content of the pipe: the rest of a request that a killed worker had not read."""
    os.set_blocking(pipe, False)
    try:
        while os.read(pipe, CHUNK):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(pipe, True)


def load(target: str) -> Callable[[Any], Any]:
    """The function that `MODULE:FUNCTION` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def answer(function: Callable[[Any], Any], line: bytes) -> dict[str, Any]:
    """The reply to one request."""
    try:
        return {"value": function(json.loads(line))}
    except MemoryError:
        return {"error": "out of memory"}
    except Exception as error:
        return {"error": describe(error)}


def describe(error: Exception) -> str:
    """The error in one line of bounded length."""
    return f"{type(error).__name__}: {error}"[:500]


def write(channel: Any, reply: dict[str, Any], *, on_a_line_of_its_own: bool = False) -> None:
    """Send one line; `on_a_line_of_its_own` first ends the half line of a killed worker."""
    channel.write(b"\n" * on_a_line_of_its_own + json.dumps(reply).encode() + b"\n")
    channel.flush()


if __name__ == "__main__":
    main()
