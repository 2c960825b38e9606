"""Runs a program's tests: two sandboxes, a socket between them, and the outcome."""

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
from data.sandbox.jail import PROCESSES as PROCESSES
from data.sandbox.jail import Kind

TESTS_SECONDS = 20  # of processor time for the tests themselves
DUMMIES_AT_ONCE = 32  # problems whose tests share a sandbox
DUMMIES_CLOCK_SECONDS = 300
MAX_TOLD = 2**16
EXCEEDED = (-signal.SIGXCPU, 128 + signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the tests passed, and why not; or, in `error`, what kept them from running."""

    passed: bool
    reason: str
    error: str | None = None


def run(program: str, tests: str, names: Sequence[str], *, seconds: int, memory_mib: int, kind: Kind) -> Outcome:
    """Run tests that call the program's functions `names`.

    It may take `seconds` of processor time, five times that by the clock, and `memory_mib` of address space. Nothing of
    it remains afterwards.
    """
    deadline = time.monotonic() + 5 * seconds
    memory = memory_mib * 2**20
    request = json.dumps({"tests": tests, "names": list(names)}).encode() + b"\n"
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as complaints, ours, theirs:
        try:
            own = {"stdin": theirs, "stdout": theirs, "stderr": complaints}
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
            with _part("program", seconds, memory, kind, (), own) as trying:
                theirs.close()
                _send(ours, program, deadline)
                with _part("tests", TESTS_SECONDS, memory, kind, (ours.fileno(),), streams) as asking:
                    ours.close()
                    lines = _report_of(asking, request, deadline)
                    if lines and "failed" in lines[-1]:
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            trying.wait(1)  # how it ended says why, where it ended
                    return _outcome(lines, trying.poll(), seconds, complaints)
        except TimeoutError:
            return Outcome(False, "not tried", f"the sandbox did not take the program within {5 * seconds} s")
        except OSError as error:
            return Outcome(False, "not tried", f"the sandbox cannot be started: {error}")


def try_dummies(problems: Sequence[tuple[str, Sequence[str]]], *, memory_mib: int, kind: Kind) -> list[str | None]:
    """The fault of each problem's tests, or None. `problems` come with the names that their tests call. A fault is that
    a dummy program passes them, or that they cannot run. Raises OSError where the sandbox cannot start.
    """
    faults: list[str | None] = []
    while len(faults) < len(problems):
        rest = problems[len(faults) : len(faults) + DUMMIES_AT_ONCE]
        request = json.dumps({"problems": [{"tests": tests, "names": list(names)} for tests, names in rest]})
        deadline = time.monotonic() + DUMMIES_CLOCK_SECONDS
        with tempfile.TemporaryFile() as complaints:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
            with _part("dummies", TESTS_SECONDS, memory_mib * 2**20, kind, (), streams) as trying:
                lines = _report_of(trying, request.encode() + b"\n", deadline)
            if not lines:
                raise OSError(f"the sandbox did not start: {_complaint(complaints)}")
        faults += [line["fault"] for line in lines[1:]]
        if len(lines) <= len(rest):  # it ended early
            faults.append("its tests cannot be tried: they end the sandbox, or take too long.")
    return faults


@contextlib.contextmanager
def _part(
    part: str, seconds: int, memory: int, kind: Kind, descriptors: tuple[int, ...], streams: dict[str, Any]
) -> "Iterator[subprocess.Popen[bytes]]":
    """One of the two processes in its sandbox, in a folder of its own; leaving the context kills it."""
    user = jail.user(kind)
    # Limits hold for each process: a program that forked would have as many times its memory.
    own = {"seconds": seconds, "memory": memory, "forks": part != "program"}
    limits = json.dumps(own | jail.limits_of(kind, user))
    inner = [*jail.python(), jail.inside(kind), part, limits, *map(str, descriptors)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*jail.walls(kind, user, descriptors), *inner],
            pass_fds=descriptors,
            env=jail.ENVIRONMENT,
            cwd=folder,
            **streams,
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
    """Send the program to the process that loads it. Raises TimeoutError where that does not read it in time."""
    channel.settimeout(max(0.01, deadline - time.monotonic()))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended; what it complained of says why
        channel.sendall(json.dumps({"code": program}).encode() + b"\n")
    channel.settimeout(None)  # the process of the tests uses it next


def _report_of(asking: "subprocess.Popen[bytes]", request: bytes, deadline: float) -> list[dict[str, Any]]:
    """The tests' report by their end or the deadline."""
    assert asking.stdin and asking.stdout
    into, out = asking.stdin.fileno(), asking.stdout.fileno()
    os.set_blocking(into, False)
    unsent, output = memoryview(request), b""
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        selector.register(into, selectors.EVENT_WRITE)
        open_still = True
        while open_still and (remaining := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(remaining):
                if key.fd == into:
                    with contextlib.suppress(BrokenPipeError):  # it ended, and its report says why
                        unsent = unsent[os.write(into, unsent[:MAX_TOLD]) :]
                        if unsent:
                            continue
                    selector.unregister(into)
                else:
                    chunk = os.read(out, MAX_TOLD)
                    output += chunk
                    open_still = bool(chunk)
    return [json.loads(line) for line in output.splitlines()]


def _outcome(lines: list[dict[str, Any]], exit_code: int | None, seconds: int, complaints: IO[bytes]) -> Outcome:
    last = next((line for line in lines if "failed" in line), lines[-1] if lines else {})  # a failure stays one
    if last.get("passed") is True:
        return Outcome(True, "passes its tests")
    if not any(line.get("started") for line in lines):
        return Outcome(False, "not tried", f"the sandbox did not start: {_complaint(complaints)}")
    if "failed" in last and exit_code in EXCEEDED:
        return Outcome(False, f"took more than {seconds} s of processor time, or was killed")
    return Outcome(False, str(last.get("failed", f"took longer than {5 * seconds} s")))


def _complaint(complaints: IO[bytes]) -> str:
    """The last line that a process wrote to its standard error."""
    complaints.seek(0)
    lines = complaints.read(2_000).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no word from it"
