"""Problems, exact verifiers, response parsing and demonstration traces. Imports neither torch nor any other room.

The public face of tasks and verifiers (docs/tasks.md). Names are imported on first use, so that a worker process that
needs one module of this package loads no other.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.problem import Problem, Verdict
    from data.response import Response, parse_response
    from data.task import Task
    from data.tasks import get_task
    from data.trace import Trace

__all__ = ["Problem", "Response", "Task", "Trace", "Verdict", "get_task", "parse_response"]

_MODULES = {
    "Problem": "data.problem",
    "Response": "data.response",
    "Task": "data.task",
    "Trace": "data.trace",
    "Verdict": "data.problem",
    "get_task": "data.tasks",
    "parse_response": "data.response",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` on first use. Raises AttributeError for any other."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
