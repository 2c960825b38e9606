"""What runs inside the two sandboxes of a trial; a file of its own, run by its path, with the standard library alone.

    python inside.py program LIMITS         the answer's program, on the socket that is its standard input
    python inside.py tests LIMITS SOCKET    the tests, which come on standard input, beside the socket to the program

Each line on the socket is JSON. Values that JSON does not have are marked (`pack`); they arrive as what they were, but
never as an object of a class that the program made: one of those could claim to be equal to anything.
"""

import builtins
import importlib.util
import json
import os
import resource
import runpy
import sys
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any, BinaryIO

MAX_LINE = 2**20
MAX_ITEMS = 100_000  # taken of an iterator


def main() -> None:
    """Take the part that the command line names."""
    part, limits, *more = sys.argv[1:]
    told = os.fdopen(os.dup(1), "wb")
    asked = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)  # what is printed goes nowhere
    confine(**json.loads(limits))
    if part == "program":
        serve(asked, told)
    else:
        channel = int(more[0])
        judge(json.loads(asked.readline()), os.fdopen(channel, "rb"), os.fdopen(os.dup(channel), "wb"), told)
    told.flush()
    os._exit(0)


def confine(*, seconds: int, memory: int, file_size: int, processes: int, user: int) -> None:
    """Limit this process for good, and give up being root where it is."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # a signal, and where that is ignored the end
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def serve(asked: BinaryIO, told: BinaryIO) -> None:
    """Import the program that comes first, then call its functions as asked."""
    send(told, {"started": True})
    with open("program.py", "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(json.loads(asked.readline())["code"])
    try:
        spec = importlib.util.spec_from_file_location("program", "program.py")
        assert spec and spec.loader
        program = importlib.util.module_from_spec(spec)
        sys.modules["program"] = program
        spec.loader.exec_module(program)
    except BaseException as error:  # SystemExit among them
        send(told, {"failed": describe(error)})
        return
    send(told, {"ready": True})
    for line in asked:
        request = json.loads(line)
        try:
            arguments = [unpack(value) for value in request["arguments"]]
            named = {name: unpack(value) for name, value in request["named"].items()}
            reply = {"value": pack(getattr(program, request["call"])(*arguments, **named))}
        except BaseException as error:
            reply = {"raised": type(error).__name__, "message": str(error)[:200]}
        send(told, reply)


class Lost(BaseException):
    """The program is gone, or said what is no reply; no test may catch it."""


def judge(request: dict[str, Any], replies: BinaryIO, calls: BinaryIO, told: BinaryIO) -> None:
    """Run the tests with stand-ins for the program's functions, and tell how it went."""
    try:
        if not receive(replies).get("started"):
            raise Lost("the sandbox did not start")
        send(told, {"started": True})
        if failed := receive(replies).get("failed"):
            send(told, {"failed": f"the program does not load: {failed}"})
            return
        with open("tests.py", "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(request["tests"])
        stand_ins = {name: stand_in(name, replies, calls) for name in request["names"]}
        runpy.run_path("tests.py", init_globals=stand_ins, run_name="tests")
    except AssertionError as error:
        send(told, {"failed": f"a test fails: {failing_line(error, request['tests'])}"})
    except Lost as lost:
        send(told, {"failed": str(lost)})
    except BaseException as error:
        send(told, {"failed": describe(error)})
    else:
        send(told, {"passed": True})


def stand_in(name: str, replies: BinaryIO, calls: BinaryIO) -> Callable[..., Any]:
    """A function that has the program's function of that name called. Arguments go by value: what the program does to
    a list that it was given stays with the program.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        packed = {key: pack(value) for key, value in named.items()}
        try:
            send(calls, {"call": name, "arguments": [pack(value) for value in arguments], "named": packed})
        except OSError:
            raise Lost("the program ended before its tests") from None
        reply = receive(replies)
        if "raised" in reply:
            kind = getattr(builtins, str(reply["raised"]), None)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                kind = RuntimeError
            raise kind(str(reply.get("message")))
        try:
            return unpack(reply["value"])
        except Exception:
            raise Lost("the program gave no reply that can be read") from None

    return call


def receive(replies: BinaryIO) -> dict[str, Any]:
    """One line of the program's. Raises Lost."""
    try:
        line = replies.readline(MAX_LINE + 1)
    except OSError:
        line = b""
    if not line:
        raise Lost("the program ended before its tests")
    if len(line) > MAX_LINE:
        raise Lost(f"the program returned more than {MAX_LINE} bytes")
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise Lost("the program gave no reply that can be read")
    return reply


def send(channel: BinaryIO, message: dict[str, Any]) -> None:
    """Write one line."""
    channel.write(json.dumps(message).encode() + b"\n")
    channel.flush()


def pack(value: Any) -> Any:
    """A plain value as JSON. Raises TypeError for any other."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple | set | frozenset | deque):
        kind = next(kind for kind in (tuple, set, frozenset, deque) if isinstance(value, kind))
        return {kind.__name__: [pack(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__: list(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, Fraction | Decimal):
        return {type(value).__name__: str(value)}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, Iterator):
        return {"iterator": [pack(item) for item in islice(value, MAX_ITEMS)]}
    if isinstance(value, KeysView | ValuesView | ItemsView):
        return {"list": [pack(item) for item in value]}
    raise TypeError(f"a value of type {type(value).__name__} cannot leave the sandbox; only plain values can")


KINDS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "bytes": bytes,
    "bytearray": bytearray,
    "complex": lambda parts: complex(*parts),
    "Fraction": Fraction,
    "Decimal": Decimal,
    "range": lambda parts: range(*parts),
    "iterator": iter,
}


def unpack(packed: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(packed, list):
        return [unpack(item) for item in packed]
    if isinstance(packed, dict):
        [(kind, content)] = packed.items()
        return KINDS[kind](unpack(content))
    return packed


def failing_line(error: AssertionError, tests: str) -> str:
    """The line of the tests that failed."""
    number, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else describe(error)


def describe(error: BaseException) -> str:
    """The error in one line of bounded length."""
    return f"{type(error).__name__}: {error}"[:200]


if __name__ == "__main__":
    main()
