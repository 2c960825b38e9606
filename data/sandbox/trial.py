"""One program tried by its tests: two sandboxes, a socket between them, and what came of it."""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from data.sandbox import jail
from data.sandbox.jail import Kind

FILE_BYTES = 2**20  # of one file that the program writes
PROCESSES = 4  # and threads, at the same time
TESTS_SECONDS = 20  # of processor time that the tests themselves may take
MAX_TOLD = 2**16
EXCEEDED = (-signal.SIGXCPU, 128 + signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the tests passed; why not; or in `error` what kept them from being run."""

    passed: bool
    reason: str
    error: str | None = None


def run(program: str, tests: str, names: Sequence[str], *, seconds: int, memory_mib: int, kind: Kind) -> Outcome:
    """Try a program by tests that call its functions `names`.

    `seconds` of processor time and `memory_mib` of address space are what it may take, and five times that by the
    clock. Nothing of it is left afterwards.
    """
    deadline = time.monotonic() + 5 * seconds
    limits = {"memory": memory_mib * 2**20, "file_size": FILE_BYTES, "processes": PROCESSES}
    request = json.dumps({"tests": tests, "names": list(names)}).encode() + b"\n"
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as complaints, ours, theirs:
        try:
            own = {"stdin": theirs, "stdout": theirs, "stderr": complaints}
            piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
            with _part("program", limits | {"seconds": seconds}, kind, (), own) as trying:
                theirs.close()
                _send(ours, program, deadline)
                with _part("tests", limits | {"seconds": TESTS_SECONDS}, kind, (ours.fileno(),), piped) as asking:
                    ours.close()
                    told = _told(asking, request, deadline)
                    if told and "failed" in told[-1]:
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            trying.wait(1)  # how it ended says why, where it ended
                    return _outcome(told, trying.poll(), seconds, complaints)
        except TimeoutError:
            return Outcome(False, "not tried", f"the sandbox did not take the program within {5 * seconds} s")
        except OSError as error:
            return Outcome(False, "not tried", f"the sandbox cannot be started: {error}")


@contextlib.contextmanager
def _part(
    part: str, limits: dict[str, int], kind: Kind, kept: tuple[int, ...], streams: dict[str, Any]
) -> "Iterator[subprocess.Popen[bytes]]":
    """One of the two processes in its sandbox, in a folder of its own; dead when it is left."""
    user = jail.user(kind)
    inner = [*jail.python(), jail.inside(kind), part, json.dumps(limits | {"user": user}), *map(str, kept)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*jail.walls(kind, user, kept), *inner], pass_fds=kept, env=jail.ENVIRONMENT, cwd=folder, **streams
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def _send(channel: socket.socket, program: str, deadline: float) -> None:
    """Hand the program to the process that is to load it. Raises TimeoutError where that does not take it in time."""
    channel.settimeout(max(0.01, deadline - time.monotonic()))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended; what it complained of says why
        channel.sendall(json.dumps({"code": program}).encode() + b"\n")
    channel.settimeout(None)  # for the tests, whose process has it next


def _told(asking: "subprocess.Popen[bytes]", request: bytes, deadline: float) -> list[dict[str, Any]]:
    """What the tests told until they ended, or the deadline."""
    assert asking.stdin and asking.stdout
    into, out = asking.stdin.fileno(), asking.stdout.fileno()
    os.set_blocking(into, False)
    unsent, told = memoryview(request), b""
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        selector.register(into, selectors.EVENT_WRITE)
        open_still = True
        while open_still and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fd == into:
                    with contextlib.suppress(BrokenPipeError):  # it ended, and what it told says why
                        unsent = unsent[os.write(into, unsent[:MAX_TOLD]) :]
                        if unsent:
                            continue
                    selector.unregister(into)
                else:
                    chunk = os.read(out, MAX_TOLD)
                    told += chunk
                    open_still = bool(chunk)
    return [json.loads(line) for line in told.splitlines()]


def _outcome(told: list[dict[str, Any]], ended: int | None, seconds: int, complaints: IO[bytes]) -> Outcome:
    last = told[-1] if told else {}
    if last.get("passed") is True:
        return Outcome(True, "passes its tests")
    if not any(line.get("started") for line in told):
        complaints.seek(0)
        lines = complaints.read(2_000).decode(errors="replace").strip().splitlines()
        return Outcome(False, "not tried", f"the sandbox did not start: {lines[-1] if lines else 'no word from it'}")
    if "failed" in last and ended in EXCEEDED:
        return Outcome(False, f"took more than {seconds} s of processor time, or was killed")
    return Outcome(False, str(last.get("failed", f"took longer than {5 * seconds} s")))
