"""Small programs in Python, judged by unit tests in a sandbox (`data.sandbox`): a set such as MBPP or HumanEval.

    tasks:
      code: {source: google-research-datasets/mbpp, question: text, tests: test_list, setup: test_setup_code}
      code:he: {source: openai/openai_humaneval, question: prompt, context: prompt, tests: test, entry: entry_point}

The answer is a block of code, or a bare function; it runs only in the sandbox. Its tests call it by value: they do not
see how a function changes its arguments, and it can return only plain values.

Tests are statements, functions `test*`, classes of unittest or pytest's plain ones (`data.sandbox.harness`). Tests that
check nothing, or that a dummy program passes, would reward any answer; their rows are faulty. A dummy returns the same
value at each call, or its first argument, or raises the same error.
"""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from data.fixed_sets.fixed_set import Fault, SetSettings, content_of, read_set, text_of, texts_of
from data.problem import Problem, Verdict
from data.sandbox import jail, trial
from data.task import Split, Task, task_of
from data.tasks.code_answer import program_of
from data.tasks.code_tests import asserted_tuple, called, object_of
from data.terminal import say_once
from data.workers.pool import default_workers

QUESTION = "Write the function in Python."
INSTRUCTIONS = (
    f"{QUESTION} Think step by step between <think> and </think>, then write the whole function in one code block. "
    "Example: <think>Twice x is x + x.</think>\n```python\ndef double(x):\n    return x + x\n```"
)
MAX_TESTS = 100_000  # characters
MAX_PROGRAM = 16_000

_kind: jail.Kind | None = None  # by this process's config, never by a problem
_free = threading.BoundedSemaphore(default_workers())  # trials at the same time


@dataclass(frozen=True, kw_only=True)
class Settings(SetSettings):
    """The set, the columns that hold its problems, and the limits of a program."""

    question: str = "question"
    tests: str = "tests"  # a text, or a list of texts
    setup: str | None = None  # code that the tests need before them, such as imports
    entry: str | None = None  # the name of the function, where the tests define check(candidate)
    context: str | None = None  # code before the answer, such as its imports and helpers
    solution: str | None = None  # a solution that must pass, or the row is faulty
    shown: int = 1  # how many of a list of tests the question shows, which tells the function's name
    seconds: int = 5  # of processor time
    memory_mib: int = 512
    sandbox: jail.Choice = "auto"  # none: limits of time and memory alone

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        SetSettings.__post_init__(self)
        for name, low, high in (("shown", 0, 100), ("seconds", 1, 60), ("memory_mib", 64, 8192)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {low} to {high}.")


def task(label: str) -> Task:
    """The task `code`, or `code:label` for one set of several."""
    return task_of(sys.modules[__name__], f"code:{label}" if label else "code")


def problems(settings: Settings) -> dict[Split, list[Problem]]:
    """All problems of the set. Raises ValueError for tests that are not Python, and where there is no sandbox."""
    _choose(settings.sandbox)
    columns = [settings.question, settings.tests, settings.setup, settings.entry, settings.context, settings.solution]
    solutions: dict[str, str] = {}

    def make(values: Mapping[str, Any]) -> Problem:
        problem = problem_of(values, settings)
        if settings.solution:
            solutions[problem.canonical] = text_of(values, settings.solution, MAX_TESTS, strip=False)
        return problem

    def check(problems: Sequence[Problem]) -> list[str | None]:
        faults = passed_by_dummies(problems)
        objects = [used for problem in problems if (used := object_of(problem.facts["tests"], problem.facts["names"]))]
        if objects:
            say_once(
                f"WARNING: {settings.source}: the tests of {len(objects)} of {len(problems)} problems use objects of "
                f"the answer's own classes, such as {objects[0]!r}. Only plain values leave the sandbox, so no answer "
                "passes them; leave these rows out."
            )
        sound = [at for at, fault in enumerate(faults) if fault is None]
        if settings.solution:
            some = [problems[at] for at in sound]
            for at, fault in zip(sound, failing(some, [solutions[problem.canonical] for problem in some]), strict=True):
                faults[at] = fault
        return faults

    return read_set(settings, [column for column in columns if column], make, check)


def problem_of(values: Mapping[str, Any], settings: Settings) -> Problem:
    """The problem in one row. Raises Fault."""
    question = text_of(values, settings.question, MAX_PROGRAM)
    listed = texts_of(values, settings.tests, MAX_TESTS) if isinstance(values.get(settings.tests), list) else []
    tests = "\n".join(listed) if listed else text_of(values, settings.tests, MAX_TESTS, strip=False)
    if settings.setup and values.get(settings.setup):
        tests = f"{text_of(values, settings.setup, MAX_TESTS, strip=False)}\n{tests}"
    if settings.entry:
        entry = text_of(values, settings.entry, 100)
        if not entry.isidentifier():
            raise Fault(f"its {settings.entry} is {entry!r}; expected the name of a function.")
        tests += f"\ncheck({entry})\n"
    context = text_of(values, settings.context, MAX_PROGRAM, strip=False) if settings.context else ""
    names = called(tests)
    if always := asserted_tuple(tests):
        raise Fault(f"its tests assert a tuple, which holds whatever is in it: {always!r}; drop the brackets.")
    if not names:
        raise Fault(f"its tests call no function of the answer: {tests[:80]!r}.")
    if examples := listed[: settings.shown]:
        question += "\n\nIt must pass tests such as:\n" + "\n".join(examples)
    limits = {"seconds": settings.seconds, "memory_mib": settings.memory_mib}
    facts = {"tests": tests, "names": names, "context": context} | limits
    return Problem("code", question, f"code {content_of(question)}", facts)


def verify(problem: Problem, answer: str) -> Verdict:
    """Judge the program in an answer by the problem's tests."""
    program = program_of(answer, problem.facts["names"])
    if program is None:
        return Verdict(False, False, "no code block and no function")
    if len(program) > MAX_PROGRAM:
        return Verdict(False, False, f"a program longer than {MAX_PROGRAM} characters")
    outcome = tried(problem, program)
    return Verdict(outcome.passed, True, outcome.reason, error=outcome.error)


def tried(problem: Problem, program: str) -> trial.Outcome:
    """Run a problem's tests on a program."""
    facts = problem.facts
    joint = "" if program[:1] in (" ", "\t") else "\n\n"  # an indented one continues the context
    with _free:
        return trial.run(
            facts["context"] + joint + program if facts["context"] else program,
            facts["tests"],
            facts["names"],
            seconds=facts["seconds"],
            memory_mib=facts["memory_mib"],
            kind=_kind or _choose("auto"),
        )


def passed_by_dummies(problems: Sequence[Problem]) -> list[str | None]:
    """The fault of each problem's tests, or None: tries programs that know nothing of the problem.

    Where the sandbox does not start, nothing is tried, and a warning says so; answers will not run either.
    """
    kind = _kind or _choose("auto")
    tests = [(problem.facts["tests"], problem.facts["names"]) for problem in problems]
    batches = [tests[start : start + trial.DUMMIES_AT_ONCE] for start in range(0, len(tests), trial.DUMMIES_AT_ONCE)]
    memory = max(problem.facts["memory_mib"] for problem in problems) if problems else 0

    def attempt(batch: list[tuple[str, list[str]]]) -> list[str | None]:
        with _free:
            return trial.try_dummies(batch, memory_mib=memory, kind=kind)

    try:
        with ThreadPoolExecutor(default_workers()) as threads:
            bar = tqdm(
                threads.map(attempt, batches), "trying dummy programs", len(batches), disable=len(problems) < 500
            )
            return [fault for faults in bar for fault in faults]
    except OSError as error:
        say_once(f"WARNING: the tests of {len(problems)} problems of code cannot be tried out: {error}.")
        return [None] * len(problems)


def failing(problems: Sequence[Problem], solutions: Sequence[str]) -> list[str | None]:
    """The fault of each problem whose own solution fails its tests, or None."""
    with ThreadPoolExecutor(default_workers()) as threads:
        trying = threads.map(tried, problems, solutions)
        outcomes = list(tqdm(trying, "trying solutions", len(problems), disable=len(problems) < 50))
    return [None if outcome.passed else f"its own solution: {outcome.error or outcome.reason}." for outcome in outcomes]


def _choose(choice: jail.Choice) -> jail.Kind:
    """The sandbox of this process. Raises ValueError where there is none, or another was chosen before."""
    global _kind
    kind = jail.choose(choice)
    if _kind not in (None, kind):
        raise ValueError(f"sandbox is {choice}, but other problems of code here use {_kind}; give both the same.")
    if kind == "none":
        say_once(
            "WARNING: sandbox is none. What the model writes runs as you, with your files and network; only its time "
            "and memory are limited."
        )
    _kind = kind
    return kind


def _forked() -> None:
    global _free
    _free = threading.BoundedSemaphore(default_workers())


os.register_at_fork(after_in_child=_forked)
