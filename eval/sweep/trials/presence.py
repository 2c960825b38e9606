"""Who works on a sweep and is alive: each process beats in a file of its own, and watches the beats of the others.

On one machine a process is looked up; of another, silence counts as death. Clocks are never compared: a beat is
a number, and what counts is how long it has not changed, by the watcher's own clock.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from train.files.atomic import write_text

PERIOD = 5.0  # seconds between beats
SILENCE = 90.0  # seconds without a beat after which a process on another machine counts as dead


class Presence:
    """This process's sign of life in `SWEEP/workers`, and its view of the others'. Entered, it beats."""

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        self.folder = folder
        self.machine = machine or _machine()
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.gpus: tuple[str, ...] = ()
        self.beats = 0
        self.buried = threading.Event()  # the others took this process for dead, and its runs
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True, name="sweep-presence")
        self._beats: dict[str, tuple[int, float]] = {}  # the last beat of each, and when it was first seen

    def __enter__(self) -> "Presence":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._file(self.id).unlink(missing_ok=True)

    def hold(self, gpus: Sequence[str]) -> None:
        """Let the others on this machine know which GPUs are in use here."""
        self.gpus = tuple(gpus)
        self.beat()

    def beat(self) -> None:
        """Say once more that this process lives."""
        self.beats += 1
        record = {
            "machine": self.machine,
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),  # a number of a process is used again
            "beats": self.beats,
            "gpus": self.gpus,
        }
        write_text(self._file(self.id), json.dumps(record))

    def living(self) -> dict[str, dict[str, Any]]:
        """The records of those alive, this process among them; the files of the dead are removed."""
        present = {}
        for file in self.folder.glob("*.json"):
            try:
                record = json.loads(file.read_text())
            except FileNotFoundError:
                continue  # it has just ended
            if file.stem == self.id or self._alive(file.stem, record):
                present[file.stem] = record
            else:
                file.unlink(missing_ok=True)
        return present

    def _alive(self, worker: str, record: dict[str, Any]) -> bool:
        if record["machine"] == self.machine:
            try:
                process = psutil.Process(record["pid"])
                same = abs(process.create_time() - record["started"]) < 1
                return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            except psutil.NoSuchProcess:
                return False
        now = time.monotonic()
        if self._beats.get(worker, (0, 0.0))[0] != record["beats"]:
            self._beats[worker] = record["beats"], now
        return now - self._beats[worker][1] < SILENCE

    def _beat_on(self) -> None:
        while not self._over.wait(PERIOD):
            if not self._file(self.id).exists():
                self.buried.set()
                return
            self.beat()

    def _file(self, worker: str) -> Path:
        return self.folder / f"{worker}.json"


def _machine() -> str:
    """A name for the space of process numbers: containers may share a host name or a kernel, but not these numbers."""
    names = [socket.gethostname()]
    with suppress(OSError):  # no Linux: the name must do
        names += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(names)
