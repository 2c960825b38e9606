"""Import of the user's own code: a module by its dotted name, or a file by its path.

To import a module is to run it, so whoever calls this does so only for a name that the user's own config gives.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from data.paths import user_path

# What a person's code may raise. sys.exit, of a program without `if __name__ == "__main__"`, would end ours as well.
FAILURES = (Exception, SystemExit)


def in_words(error: BaseException) -> str:
    """An exception of a person's code in one line: its message may have many."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def import_own(name: str, kind: str) -> ModuleType:
    """The module called `name`, or at the path `name` where that ends in `.py`; `kind` says what it is to be.

    Raises ValueError in one line where it is not found or fails.
    """
    return _from_file(user_path(name), kind) if name.endswith(".py") else _from_path(name, kind)


def _from_file(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise ValueError(
            f"The {kind} {path} does not exist; expected the path of a Python file, from the folder {os.getcwd()}."
        )
    name = str(path)  # no module's name ends so, and two files of one name do not meet
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks for its module while it is made
    try:
        spec.loader.exec_module(module)
    except FAILURES as error:
        del sys.modules[name]
        raise ValueError(f"The {kind} {path} cannot be imported: {in_words(error)}") from error
    return module


def _from_path(name: str, kind: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # scripts/*.py run with their own folder on the path, not with the user's
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"The {kind} {name} cannot be imported: {error}") from error
        raise ValueError(
            f"There is no {kind} {name}, neither installed nor in the folder {os.getcwd()}; name its file "
            "instead, such as ./primes.py."
        ) from None
    except FAILURES as error:
        raise ValueError(f"The {kind} {name} cannot be imported: {in_words(error)}") from error
