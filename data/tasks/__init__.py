"""The tasks by name; `data.task` says what a task is.

A name is a module here (`countdown`), a member of a family (`gym:leg_counting`), or a module of the user's
(`my_tasks.primes`, `./primes.py`).
"""

import importlib
from functools import cache

from data.task import Task, task_of
from data.tasks import arithmetic, countdown, own

TASKS: dict[str, Task] = {module.NAME: task_of(module, module.NAME) for module in (countdown, arithmetic)}

# Families of tasks: each is a module, imported on first use, with `task(label) -> Task`, where `label` is the text
# behind the colon, or "".
FAMILIES: dict[str, str] = {"gym": "data.tasks.gym", "math": "data.tasks.math", "code": "data.tasks.code"}


def get_task(name: str) -> Task:
    """The task of that name. Raises ValueError listing the tasks there are.

    Never imports a module of the user's: such a task exists only after `load_task`.
    """
    if name in TASKS:
        return TASKS[name]
    family, _, label = name.partition(":")
    if family in FAMILIES:
        return _of_family(family, label)
    if name in own.LOADED:
        return own.LOADED[name]
    families = [f"{family}:<name>" for family in FAMILIES]
    raise ValueError(
        f"Unknown task {name!r}; expected one of: {', '.join([*sorted(TASKS), *families])}, or a module of your own "
        "that the config names, such as my_tasks.primes or ./primes.py."
    )


def load_task(name: str) -> Task:
    """The task that a config names; imports it where it is a module of the user's."""
    return own.load(name) if own.is_own(name) else get_task(name)


@cache
def _of_family(family: str, label: str) -> Task:
    task: Task = importlib.import_module(FAMILIES[family]).task(label)
    return task
