"""A file of one row for each task, so that a long table is measured task by task and continues where it was cut off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rows_of_tasks(
    path: Path, how: dict[str, Any], names: list[str], measure: Callable[[str], Any], progress: Callable[[str], None]
) -> list[Any]:
    """The row of each task: what `measure` gives of its name, or what `path` holds already, a file of JSON lines.

    Every line begins with `how`, the settings under their name. Raises ValueError where the file holds rows of others.
    """
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    if any({name: row.pop(name) for name in how} != how for row in rows):
        raise ValueError(f"{path} holds rows of other settings; give the same ones, or another --kept.")
    by_task = {row["task"]: row for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        progress(name)
        if name not in by_task:
            by_task[name] = measure(name)
            with path.open("a") as file:
                file.write(json.dumps(how | by_task[name]) + "\n")
    return [by_task[name] for name in names]
