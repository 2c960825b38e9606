"""A newcomer's files, the commands that are run on them, and whether a command did what it should."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Ended = subprocess.CompletedProcess[str]


class StepFailed(Exception):
    """A step did not do what it should."""


@dataclass
class Hour:
    """The files of one newcomer, and what came of each step.

    `config` is that of the first run, `shorter` the options that make it shorter, `trained` a run to take in its place.
    """

    folder: Path
    config: Path
    shorter: Sequence[str] = ()
    trained: Path | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The newcomer's first run."""
        return self.folder / "runs" / "first"

    def step(self, title: str, work: Callable[["Hour"], str]) -> None:
        """Do one step, and say what came of it."""
        print(f"\n== {title}", flush=True)
        began = time.monotonic()
        try:
            result = work(self)
        except Exception as error:  # whatever ends a step, the next ones are still worth trying
            self.failures.append(title)
            result = f"FAILED: {error}"
        print(f"{result}\n   ({time.monotonic() - began:.0f} s)", flush=True)

    def train(self, name: str, *options: object, config: Path | None = None, processes: int = 1) -> Ended:
        """A training run in the newcomer's folder."""
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        where = ["--config", config or self.config, "--runs_dir", self.folder / "runs", "--name", name, "--overwrite"]
        if processes == 1:
            return self.call("-m", "train", *where, *options)
        return self.call(*launcher, "-m", "train", *where, *options, ACCELERATE_USE_CPU="1", OMP_NUM_THREADS="1")

    def call(self, *words: object, **variables: str) -> Ended:
        """Run Python on a script of the project, and show the command."""
        command = python(*words)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(**variables))


def python(*words: object) -> list[str]:
    """The command that runs Python on `words`, which is shown."""
    print(f"   $ {shlex.join(['python', *map(str, words)])}", flush=True)
    return [sys.executable, *map(str, words)]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | variables


def last_lines(process: Ended, count: int = 4) -> str:
    """The last lines that a command wrote. Raises StepFailed where it did not end well."""
    if process.returncode:
        raise StepFailed(f"exit code {process.returncode}: {' '.join(process.stderr.strip().splitlines()[-1:])}")
    return indented((process.stdout or process.stderr).strip().splitlines()[-count:])


def refusal(process: Ended, words: str, code: int = 2) -> str:
    """The one line that a bad input got. Raises StepFailed where it is another, or a traceback."""
    lines = [line for line in process.stderr.splitlines() if words in line]
    if process.returncode != code or len(lines) != 1 or "Traceback" in process.stderr:
        end = " | ".join(process.stderr.strip().splitlines()[-3:])
        raise StepFailed(f"expected exit code {code} and one line with {words!r}; got {process.returncode}: {end}")
    return indented(lines)


def indented(lines: Sequence[str]) -> str:
    """Lines of a step's result."""
    return "\n".join(f"   {line}" for line in lines)
