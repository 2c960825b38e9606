"""The tasks, one module each.

A task module has `NAME`, `WORDS` (its vocabulary, for scratch models), `JUDGEMENTS` (those in which a thinking judges
itself), `QUESTION` (what is asked, in plain words), `INSTRUCTIONS` (a system prompt for models that have never seen
it), `Settings`, and the functions `generate`, `verify`, `demonstrate` and `parse_trace`.
"""

from types import ModuleType

from data.tasks import arithmetic, countdown

TASKS: dict[str, ModuleType] = {task.NAME: task for task in (countdown, arithmetic)}


def get_task(name: str) -> ModuleType:
    """The task of that name. Raises ValueError listing the tasks there are."""
    if name not in TASKS:
        raise ValueError(f"Unknown task {name!r}; expected one of: {', '.join(sorted(TASKS))}.")
    return TASKS[name]
