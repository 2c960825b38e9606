"""The user's own tasks: a module by its dotted name, or a file by its path.

Importing a module runs it. So `load` imports a module only where the user's config names it. Names in data (a row of
rollouts, a problem in a file) only find modules that were loaded before.
"""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from data.own_module import FAILURES, import_own, in_words
from data.problem import Problem, Verdict
from data.task import Split, Task, task_of

LOADED: dict[str, Task] = {}
_TRIED: set[tuple[str, str]] = set()  # tasks by name and settings


def is_own(name: str) -> bool:
    """Whether a task's name is a dotted module name or the path of a `.py` file."""
    return name.endswith(".py") or ("." in name and all(part.isidentifier() for part in name.split(".")))


def load(name: str) -> Task:
    """Import the user's task module, once. Raises ValueError where it is not found, fails, or is no task."""
    if name not in LOADED:
        LOADED[name] = task_of(import_own(name, "task module"), name)
    return LOADED[name]


def try_out(task: Task, settings: Any) -> None:
    """Ask for one problem and judge two answers, to see a module's mistakes before any work. Raises ValueError."""
    key = (task.name, repr(settings))
    if key in _TRIED:
        return
    try:
        if task.draw:
            problem = task.draw(random.Random(0), settings, 1)[0]
        else:
            assert task.problems
            sets = task.problems(settings)
            problem = next(problem for problems in sets.values() for problem in problems)
        same = is_plain(problem)
        verdicts = [task.verify(problem, answer) for answer in ("", "0")] if same else []
    except FAILURES as error:  # whatever the user's module does wrong, the line says which module, and what
        raise ValueError(f"The task module {task.name} fails on its first problem: {in_words(error)}") from error
    if not same:
        raise ValueError(
            f"The task module {task.name} gives {problem!r}; expected a data.problem.Problem whose facts are plain "
            "JSON values: text, numbers, true, false, null, lists, and mappings by text."
        )
    if not task.draw:
        check_set(task.name, sets)
    for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise ValueError(f"verify of {task.name} gives {verdict!r}; expected a data.problem.Verdict.")
    _TRIED.add(key)


def is_plain(problem: Any) -> bool:
    """Whether a value is a problem that survives writing and reading."""
    if not isinstance(problem, Problem):
        return False
    line = problem.to_json()
    json.dumps([problem.prompt, problem.canonical, problem.facts], ensure_ascii=False).encode()
    return "NaN" not in line and "Infinity" not in line and Problem.from_json(line) == problem


def check_set(name: str, sets: Mapping[Split, Sequence[Any]]) -> None:
    """Raise ValueError for the first of a module's problems that is malformed, or contradicts another one."""
    for split, problems in sets.items():
        by_question: dict[str, tuple[int, Problem]] = {}
        for number, problem in enumerate(problems, start=1):
            try:
                plain, why = is_plain(problem), ""
            except (TypeError, ValueError, RecursionError) as error:
                plain, why = False, f" ({type(error).__name__}: {error})"
            if not plain:
                raise ValueError(
                    f"The task module {name} gives {str(problem)[:200]!r} as problem {number} of {split}{why}; "
                    "expected a data.problem.Problem whose facts are plain JSON values."
                )
            before, like = by_question.setdefault(problem.canonical, (number, problem))
            if like.facts != problem.facts:
                raise ValueError(
                    f"The task module {name} gives two {split} problems, {before} and {number}, with the same "
                    f"canonical text {problem.canonical[:80]!r} and other facts; expected one text for one problem."
                )
