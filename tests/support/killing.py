"""Sweeps in processes of their own that are killed midway, and what must come out all the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import patience
import psutil

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


@contextmanager
def started(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A sweep in a process of its own; none of its processes outlives the block."""
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, stdout=out, stderr=out)
    try:
        yield process
    finally:
        kill(process)


def until(true: Callable[[], bool], process: subprocess.Popen, log: Path) -> None:
    """Wait for something that a sweep does while it goes on."""
    happened = patience.until(lambda: true() or process.poll() is not None)
    assert happened and true(), log.read_text()[-3000:]


def kill(process: subprocess.Popen, *, alone: bool = False) -> list[psutil.Process]:
    """SIGKILL to a sweep and all that it started, or to it alone; returns the processes that it had started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    for child in [] if alone else family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    if not alone:
        psutil.wait_procs(family)
    return family


def lines(folder: Path, run: str) -> int:
    """How many lines of metrics a run has."""
    path = folder / "trials" / run / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def figures(folder: Path) -> dict[str, Any]:
    """What a sweep has found, without times, places and attempts.

    Of a trial that was pruned the state of its runs is left out too: on a busy machine a run can be done before anyone
    looks at its curve, and the trial is pruned all the same.
    """
    found = json.loads((folder / "results.json").read_text())
    for trial in found["trials"]:
        for seed in trial["seeds"].values():
            del seed["attempts"], seed["run"]
            if trial["pruned_at"] is not None:
                del seed["state"], seed["estimate"]
    return found


def outcomes(folder: Path) -> list[str]:
    """How the attempts of all runs ended."""
    found = json.loads((folder / "results.json").read_text())
    return [
        attempt["outcome"]
        for trial in found["trials"]
        for seed in trial["seeds"].values()
        for attempt in seed["attempts"]
    ]
