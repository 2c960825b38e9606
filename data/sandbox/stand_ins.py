"""What tests see of a program: a stand-in for each of its functions, which calls it in the other process.

Arguments go by value: where the program changes a list, the tests' own list stays as it is. What it prints reaches
tests that replace `sys.stdout` (`redirect_stdout`), and it reads what they put in place of `sys.stdin`.
"""

import builtins
import io
import sys
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from data.sandbox.wire import Lost, holds_nan, pack, receive, send, unpack

UNTOLD = ("unittest", "doctest", "bdb")  # modules whose errors tests may expect


class Program:
    """The program at the other end of the channel. `fail` ends the tests for a reason that no test may catch."""

    def __init__(self, replies: BinaryIO, calls: BinaryIO, fail: Callable[[str], NoReturn], tests: str) -> None:
        self.replies, self.calls, self.fail = replies, calls, fail
        self.awaits = "await" in tests or "asyncio" in tests
        self.expects_nan = "nan" in tests.casefold()
        self.expects_stop = "StopIteration" in tests or "StopAsyncIteration" in tests
        self.unawaited = 0  # coroutines that the tests have not awaited yet
        self.lock = allocate_lock()  # tests may have threads

    def function(self, name: str) -> Callable[..., Any]:
        """The stand-in for the program's function of that name."""

        def call(*arguments: Any, **named: Any) -> Any:
            packed = {key: pack(value) for key, value in named.items()}
            message = {"call": name, "arguments": [pack(value) for value in arguments], "named": packed}
            with self.lock:
                reply = self._exchange(message | streams())
                if "untyped" in reply:
                    sys.stdin = io.StringIO(str(reply["untyped"]))
                if "printed" in reply and sys.stdout is not None:
                    sys.stdout.write(str(reply["printed"]))
            if not reply.get("awaited"):
                return self._outcome(reply)
            if not self.awaits:
                self.fail(f"{name} is an async function, and its tests await none")
            self.unawaited += 1
            return self._later(reply)

        return call

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            send(self.calls, message)
            return receive(self.replies)
        except OSError:
            self.fail("the program ended before its tests")
        except Lost as lost:
            self.fail(str(lost))

    async def _later(self, reply: dict[str, Any]) -> Any:
        self.unawaited -= 1
        return self._outcome(reply)

    def _outcome(self, reply: dict[str, Any]) -> Any:
        """The program's return value; raises its exception."""
        try:
            if "raised" in reply:
                error = self._error(reply["raised"], str(reply.get("message")))
            else:
                lost = holds_nan(reply["value"]) and not self.expects_nan
                value = unpack(reply["value"])
        except Exception:
            self.fail("the program gave no reply that can be read")
        if "raised" in reply:
            raise error
        if lost:
            self.fail("the program returned NaN, which its tests do not speak of")
        return value

    def _error(self, lineage: list[list[str]], message: str) -> Exception:
        """The error by its nearest class that is Python's own.

        A StopIteration would end the loop in which the tests call, as if all were well (PEP 479); it becomes a
        RuntimeError, unless the tests speak of it.
        """
        for module, name in lineage:
            if name in ("StopIteration", "StopAsyncIteration") and not self.expects_stop:
                return RuntimeError(f"the program raised {name}")
            kind = known(str(module), str(name))
            if kind is not None:
                error = kind.__new__(kind, message)  # without __init__, whose arguments we do not have
                assert isinstance(error, Exception)
                return error
        return RuntimeError(message)


def streams() -> dict[str, Any]:
    """What a call takes along where the tests have put something else in place of a stream: the text that the program
    can read in `typed`, and `prints` where they want what it prints.
    """
    replaced: dict[str, Any] = {"prints": True} if sys.stdout is not sys.__stdout__ else {}
    if isinstance(sys.stdin, io.StringIO):
        replaced["typed"] = sys.stdin.read()
    return replaced


def known(module: str, name: str) -> type[Exception] | None:
    """The class of that name where it is an error of an imported module of the standard library."""
    if module.split(".")[0] in UNTOLD or module.split(".")[0] not in sys.stdlib_module_names:
        return None
    holder = builtins if module == "builtins" else sys.modules.get(module)
    kind = vars(holder).get(name) if holder else None
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None
