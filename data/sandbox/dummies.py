"""Runs a problem's tests on dummy programs that know nothing of it: tests that a dummy passes check nothing.

Tests and dummy share a process, since the dummy is ours. Each problem gets a forked process, so that hundreds take
seconds. Where a dummy hangs or ends the process, the next dummy gets a new one.
"""

import json
import os
import signal
from collections.abc import Callable
from typing import Any, BinaryIO

from data.sandbox import harness
from data.sandbox.limits import confine
from data.sandbox.wire import describe, pack, send, unpack

SECONDS = 0.5  # of processor time for one dummy
CLOCK_SECONDS = 10  # for tests that sleep
PROCESS_SECONDS = 20  # of processor time for the dummies of one problem
RETURNED: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**9, 0.5,
    "", "a", "abc", [], [0], [0, 0], (), {}, set(),
)  # fmt: skip
RAISED = (
    ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, AttributeError, OSError, RuntimeError,
    NotImplementedError, AssertionError, OverflowError, RecursionError, FileNotFoundError,
)  # fmt: skip
ENDED = "ended"


class Failed(BaseException):
    """A test has failed, and no test may catch that; `reason` is kept in case one does."""


def dummies(tests: str) -> list[tuple[str, Callable[..., Any]]]:
    """The dummy programs: what each does, and the function that stands for each function of the program."""
    plain = [*map(returning, RETURNED), *map(raising, RAISED), ("returns its first argument", echo)]
    return plain + [(what, later(function)) for what, function in plain] if "await" in tests else plain


def returning(value: Any) -> tuple[str, Callable[..., Any]]:
    """A function that returns the value, and what it does."""

    def call(*arguments: Any, **named: Any) -> Any:
        for argument in (*arguments, *named.values()):
            pack(argument)  # which fails as it would on its way to a program
        return unpack(pack(value))

    return f"returns {value!r}", call


def echo(*arguments: Any, **named: Any) -> Any:
    """Return the first argument, None where there is none."""
    return unpack(pack(next(iter([*arguments, *named.values()]), None)))


def raising(kind: type[Exception]) -> tuple[str, Callable[..., Any]]:
    """A function that raises such an error, and what it does."""

    def call(*_: Any, **__: Any) -> Any:
        raise kind("a dummy")

    return f"raises {kind.__name__}", call


def later(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as an async one."""

    async def call(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return call


def try_dummies(request: dict[str, Any], report: BinaryIO, limits: dict[str, Any]) -> None:
    """For each problem, `{"tests": ..., "names": [...]}`, tell what is wrong with its tests; None where nothing is."""
    if any("unittest" in problem["tests"] for problem in request["problems"]):
        import unittest  # noqa: F401  # once, for all that are forked
    send(report, {"started": True})
    for number, problem in enumerate(request["problems"]):
        send(report, {"problem": number, "fault": fault(problem["tests"], problem["names"], report, limits)})


def fault(tests: str, names: list[str], report: BinaryIO, limits: dict[str, Any]) -> str | None:
    """Return the fault of one problem's tests, or None."""
    count = len(dummies(tests))
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < count:
        for line in forked(tests, names, len(outcomes), report, limits):
            outcomes.append(line)
            if "fault" in line:
                return str(line["fault"])
        if len(outcomes) < count:
            outcomes.append({"failed": ENDED})
    reasons = {line["failed"] for line in outcomes[: len(RETURNED)]}
    if len(reasons) == 1 and (reason := reasons.pop()).startswith(("NameError", "ImportError", "SkipTest")):
        return f"its tests cannot be run: {reason}."
    return None


def forked(tests: str, names: list[str], first: int, report: BinaryIO, limits: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a forked process reports of each dummy from number `first`, as far as it gets."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.close(report.fileno())
        try:
            confine(**limits | {"seconds": PROCESS_SECONDS})
            attempt_all(tests, names, first, os.fdopen(write, "wb"))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as channel:
        text = channel.read(2**16)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    except ValueError:
        return [{"fault": "its tests write where nothing of theirs belongs"}]


def attempt_all(tests: str, names: list[str], first: int, channel: BinaryIO) -> None:
    """Run the tests with each dummy and report the outcome; the first dummy that passes ends the search."""
    for what, function in dummies(tests)[first:]:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # nobody handles their signals, which end the process
        signal.setitimer(signal.ITIMER_REAL, CLOCK_SECONDS)
        line = attempt(tests, dict.fromkeys(names, function), what)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(channel, line)
        if "fault" in line:
            return


def attempt(tests: str, functions: dict[str, Callable[..., Any]], what: str) -> dict[str, str]:
    """Return the outcome of the tests with one dummy."""
    failures: list[str] = []

    def fail(reason: str) -> None:
        failures.append(reason)
        raise Failed(reason)

    tally = harness.Tally(fail)
    try:
        harness.run(tests, functions, tally)
    except harness.Unrunnable as error:
        return {"fault": f"{error}."}
    except BaseException as error:
        return {"failed": describe(error)}
    if failures:
        return {"failed": failures[0]}
    if not tally.checks:
        return {"fault": "its tests execute no check: no assert, no assertion of a TestCase, nothing that may raise."}
    return {"fault": f"its tests are passed by a dummy program, one that {what} whenever it is called."}
