"""Runs inside the sandboxes; started by its path, with the standard library and this folder alone.

    python inside.py program LIMITS         the answer's program, on the socket that is its standard input
    python inside.py tests LIMITS SOCKET    the tests, which come on standard input, beside the socket to the program
    python inside.py dummies LIMITS         tests of many problems, each tried by dummy programs (`dummies`)
    python inside.py probe LIMITS            nothing: reports that the walls stand

Each line on the socket is JSON (`wire`).
"""

import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from types import CoroutineType
from typing import Any, BinaryIO, NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))
from data.sandbox.limits import confine
from data.sandbox.wire import MAX_DIGITS, Lost, describe, lineage, pack, receive, send, unpack


def main() -> None:
    """Run the part that the command line names."""
    part, limits, *more = sys.argv[1:]
    report = os.fdopen(os.dup(1), "wb")
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)  # what is printed goes nowhere, unless the tests catch it (`stand_ins`)
    sys.set_int_max_str_digits(MAX_DIGITS)
    if part == "dummies":
        from data.sandbox.dummies import try_dummies  # it limits its forks itself

        os.dup2(nothing, 2)
        try_dummies(json.loads(requests.readline()), report, json.loads(limits))
        os._exit(0)
    confine(**json.loads(limits))
    os.dup2(nothing, 2)
    if part == "program":
        serve(requests, report)
    elif part == "tests":
        channel = int(more[0])
        judge(json.loads(requests.readline()), os.fdopen(channel, "rb"), os.fdopen(os.dup(channel), "wb"), report)
    else:
        report.write(b"inside\n" if os.listdir("/tmp") == [] and not os.path.exists("/home") else b"files are seen\n")
    report.flush()
    os._exit(0)


def serve(requests: BinaryIO, report: BinaryIO) -> None:
    """Import the program, which is the first message, then call its functions on request."""
    send(report, {"started": True})
    with open("program.py", "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(json.loads(requests.readline())["code"])
    try:
        spec = importlib.util.spec_from_file_location("program", "program.py")
        assert spec and spec.loader
        program = importlib.util.module_from_spec(spec)
        sys.modules["program"] = program
        spec.loader.exec_module(program)
    except BaseException as error:  # SystemExit among them
        send(report, {"failed": describe(error)})
        return
    send(report, {"ready": True})
    for line in requests:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        streams = sys.stdin, sys.stdout
        typed, printed = io.StringIO(request.get("typed", "")), io.StringIO()
        if "typed" in request:
            sys.stdin = typed
        if "prints" in request:
            sys.stdout = printed
        try:
            arguments = [unpack(value) for value in request["arguments"]]
            keywords = {name: unpack(value) for name, value in request["named"].items()}
            value = getattr(program, request["call"])(*arguments, **keywords)
            if isinstance(value, CoroutineType):
                import asyncio  # slow to import, and rarely needed

                reply["awaited"] = True
                value = asyncio.run(value)
            reply["value"] = pack(value)
        except BaseException as error:
            reply |= {"raised": lineage(error), "message": str(error)[:200]}
        sys.stdin, sys.stdout = streams
        reply |= {"untyped": "" if typed.closed else typed.read()} if "typed" in request else {}
        reply |= {"printed": "" if printed.closed else printed.getvalue()} if "prints" in request else {}
        send(report, reply)


def judge(request: dict[str, Any], replies: BinaryIO, calls: BinaryIO, report: BinaryIO) -> None:
    """Run the tests with stand-ins for the program's functions, and report the outcome."""
    from data.sandbox import harness, stand_ins

    def fail(reason: str) -> NoReturn:
        """End the process here: the tests might catch an exception."""
        send(report, {"failed": reason})
        os._exit(0)

    tests = request["tests"]
    try:
        if not receive(replies).get("started"):
            fail("the sandbox did not start")
        send(report, {"started": True})
        if failure := receive(replies).get("failed"):
            fail(f"the program does not load: {failure}")
    except Lost as lost:
        fail(str(lost))
    tally = harness.Tally(fail)
    program = stand_ins.Program(replies, calls, fail, tests)
    try:
        harness.run(tests, {name: program.function(name) for name in request["names"]}, tally)
    except AssertionError as error:
        fail(f"a test fails: {harness.failing_line(error, tests) or describe(error)}")
    except harness.Unrunnable as error:
        fail(str(error))
    except BaseException as error:
        fail(describe(error))
    if program.unawaited:
        fail("the tests do not await what an async function of the program gives")
    if not tally.checks:
        fail("its tests check nothing")
    send(report, {"passed": True})


if __name__ == "__main__":
    main()
