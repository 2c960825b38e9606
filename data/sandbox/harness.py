"""Runs tests, whatever form they have, and counts what they check.

The module's statements run first, as a script's do (`__name__` is "__main__"). Then come functions `test*`, functions
`check*` without arguments, methods `test*` of classes `Test*`, and every `unittest.TestCase`. `unittest.main()` is ours
to call, so that no result gets lost.
"""

import builtins
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import Any

from data.sandbox.rewrite import CHECKED, ENTERED, REAL, rewritten

FILE = "tests.py"


class Unrunnable(Exception):
    """Tests that no program could pass or fail; the message says why."""


class Tally:
    """Counts kept while tests run: the conditions checked, and the functions entered.

    `fail(reason)` ends the tests in a way that they cannot catch.
    """

    def __init__(self, fail: Callable[[str], None]) -> None:
        self.fail = fail
        self.checks = 0
        self.entered: set[str] = set()

    def checked(self, condition: Any) -> Any:
        """Count a condition that a test asserts or branches on."""
        self.checks += 1
        return condition

    def real(self, operand: Any) -> Any:
        """Fail for a NaN in an ordering: each such comparison is false, and `not` makes it true."""
        if isinstance(operand, float | Decimal) and operand != operand:
            self.fail("a test compares NaN with something by order")
        return operand


def run(tests: str, names: Mapping[str, Any], tally: Tally) -> None:
    """Run the tests with `names` in their module.

    Raises Unrunnable, and whatever the tests raise, such as AssertionError.
    """
    with open(FILE, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(tests)
    sys.argv = [FILE]
    vars(builtins)["exit"] = vars(builtins)["quit"] = sys.exit  # as in any script
    if "unittest" in tests:
        take_over_unittest(tally)
    hooks = {CHECKED: tally.checked, ENTERED: tally.entered.add, REAL: tally.real}
    try:
        module = loaded(tests, {**names, **hooks})
        for test in collected(module, tally):
            run_one(test)
    except ModuleNotFoundError as error:
        if error.name is None:  # the program's
            raise
        raise Unrunnable(f"its tests need the module {error.name!r}, which the sandbox does not have") from None


class _Loader(importlib.abc.InspectLoader):
    """Loads the rewritten tests as the module `__main__`."""

    def __init__(self, tests: str) -> None:
        self.tests = tests

    def get_source(self, fullname: str) -> str:
        return self.tests

    def get_code(self, fullname: str) -> CodeType:
        return code_of(self.tests)


@cache
def code_of(tests: str) -> CodeType:
    """The rewritten tests, compiled."""
    try:
        return importlib.abc.InspectLoader.source_to_code(rewritten(tests), FILE)  # a tree is as good as a text
    except RecursionError:
        raise Unrunnable("its tests nest too deep") from None


def loaded(tests: str, names: Mapping[str, Any]) -> ModuleType:
    """The module of the tests, after its statements ran."""
    spec = importlib.util.spec_from_loader("__main__", _Loader(tests))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    module.__file__ = FILE
    vars(module).update(names)
    sys.modules["__main__"] = module  # unittest and dataclasses look for it there
    leave(spec.loader.exec_module, module)
    return module


def leave(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that may end with `sys.exit`: no code or 0 is success, any other code is a failure."""
    try:
        return function(*arguments)
    except SystemExit as error:
        if error.code:
            raise AssertionError(f"the tests exit with {error.code!r}") from error


def collected(module: ModuleType, tally: Tally) -> Iterator[Callable[[], Any]]:
    """The tests to call after the module's statements, in the order of the module."""
    cases = []
    for name, thing in list(vars(module).items()):
        if isinstance(thing, FunctionType):
            if not is_of_tests(thing) or not name.startswith(("test", "check")) or thing.__name__ in tally.entered:
                continue
            if not needs_arguments(thing):
                yield thing
            elif name.startswith("test"):
                raise Unrunnable(f"its test function {name} takes arguments, and nothing calls it")
        elif isinstance(thing, type) and thing.__module__ == "__main__":
            if is_case(thing):
                cases.append(thing)
            elif name.startswith("Test"):
                yield from methods_of(thing)
    for case in dict.fromkeys(cases):
        yield lambda case=case: run_case(case)  # type: ignore[misc]


def methods_of(kind: type) -> Iterator[Callable[[], Any]]:
    """The test methods of a pytest-style class, each on an object of its own."""
    constructor = next(vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base))
    if isinstance(constructor, FunctionType) and needs_arguments(constructor, 1):
        raise Unrunnable(f"its test class {kind.__name__} takes arguments, and nothing makes one")
    for name in dir(kind):
        if name.startswith("test") and callable(getattr(kind, name)):

            def call(name: str = name) -> None:
                test = kind()
                for step in ("setup_method", name, "teardown_method"):
                    if hasattr(test, step):
                        run_one(getattr(test, step))

            yield call


def is_of_tests(function: FunctionType) -> bool:
    """Whether the tests define a function themselves. An imported function is not run; a decorated one may be."""
    return function.__module__ == "__main__" and function.__globals__.get("__name__") == "__main__"


def needs_arguments(function: FunctionType, bound: int = 0) -> bool:
    """Whether a function cannot be called with no more than its first `bound` arguments."""
    code = function.__code__
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return code.co_argcount - bound > len(function.__defaults__ or ()) or not set(names) <= set(
        function.__kwdefaults__ or {}
    )


def run_one(test: Callable[[], Any]) -> None:
    """Call a test, and run the coroutine or generator that it returns."""
    result = leave(test)
    if isinstance(result, CoroutineType | AsyncGeneratorType):
        import asyncio  # slow to import, and rarely needed

        asyncio.run(result if isinstance(result, CoroutineType) else _exhaust(result))
    elif isinstance(result, GeneratorType):
        for item in result:
            if isinstance(item, tuple) and item and callable(item[0]):  # as in nose
                item[0](*item[1:])


async def _exhaust(generator: AsyncGeneratorType[Any, Any]) -> None:
    async for _ in generator:
        pass


def is_case(kind: type) -> bool:
    """Whether a class is a TestCase; there is none where the tests do not import unittest."""
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase)


def run_case(case: Any) -> None:
    """Run a TestCase. Raises the first failure."""
    import unittest

    class Result(unittest.TestResult):
        first: BaseException | None = None

        def _keep(self, error: Any) -> None:
            self.first = self.first or error[1]

        def addError(self, test: Any, err: Any) -> None:
            self._keep(err)

        def addFailure(self, test: Any, err: Any) -> None:
            self._keep(err)

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                self._keep(err)

        def addUnexpectedSuccess(self, test: Any) -> None:
            self._keep((None, AssertionError("a test passes that was expected to fail")))

    result = Result()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    if result.first is not None:
        raise result.first


def take_over_unittest(tally: Tally) -> None:
    """Count the assertions of TestCases, and keep the tests from running these out of our sight."""
    import unittest

    for name, method in list(vars(unittest.TestCase).items()):
        if name.startswith(("assert", "fail")) and isinstance(method, FunctionType):
            original = vars(method).get("__wrapped__", method)
            setattr(unittest.TestCase, name, _counting(original, tally))
    unittest.main = lambda *_, **__: None  # type: ignore[assignment]
    unittest.TextTestRunner.run = lambda *_, **__: unittest.TestResult()  # type: ignore[assignment,method-assign]


def _counting(method: FunctionType, tally: Tally) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        tally.checks += 1
        return method(*arguments, **named)

    counting.__wrapped__ = method  # type: ignore[attr-defined]
    return counting


def failing_line(error: BaseException, tests: str) -> str:
    """The failed line of the tests."""
    number, trace = 0, error.__traceback__
    while trace:
        if os.path.basename(trace.tb_frame.f_code.co_filename) == FILE:
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""
