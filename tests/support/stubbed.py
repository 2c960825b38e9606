"""Sweeps whose runs the stub does: at once and in this process, or in processes that can be killed.

python tests/support/stubbed.py FOLDER SPEC.yaml
"""

import contextlib
import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_train

from eval.sweep.setup.check import Machine
from eval.sweep.setup.folder import open_folder
from eval.sweep.setup.read import read_spec
from eval.sweep.setup.spec import Spec
from eval.sweep.trials import trial_launch as launch
from eval.sweep.trials import work
from eval.sweep.trials.records import Run
from train.lifecycle.signals import StopSignals

STUB = Path(__file__).with_name("stub_train.py")
BASE = {"max_steps": 8, "eval_steps": 2, "learning_rate": 1e-3}
SETTLED = {"workers": 2, "threads": 1, "gpus": 0, "at_once": 2, "startup": 2}
CPU = Machine((), 2)


def spec(**values: Any) -> Spec:
    """A small sweep, as it is when it was checked."""
    given = {"search": {"learning_rate": [1e-4, 1e-3, 1e-2]}, "seeds": (0, 1), "base": BASE, **SETTLED} | values
    return Spec("small", "base.yaml", **given)


def command(spec: Spec, run: Run, slot: launch.Slot) -> list[str]:
    """The command of a run, with the stub for `accelerate launch -m train`."""
    words = launch.command(spec, run, slot)
    return [sys.executable, str(STUB), *words[words.index("train") + 1 :]]


def in_process(words: list[str], run: Run, slot: launch.Slot, stop: Callable[[], bool]) -> tuple[int, str]:
    """What `launch` does, without a process."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = stub_train.main(words[2:], stop)
        except RuntimeError:
            traceback.print_exc(file=said)
            code = 1
    return code, said.getvalue()


def do(folder: Path, spec: Spec, asked: Callable[[], bool] = lambda: False, **options: Any) -> Any:
    """Do a sweep with the stub, each run in a process of its own."""
    from eval.sweep.trials.run_sweep import sweep  # with its page, which the processes that are killed have no need of

    launch.POLL = work.IDLE = 0.05
    return sweep(folder, spec, options.pop("machine", CPU), asked, words=command, **options)


if __name__ == "__main__":
    with StopSignals() as stop:
        try:
            launch.POLL = work.IDLE = 0.05
            place = Path(sys.argv[1])
            work.work(place, open_folder(place, read_spec(Path(sys.argv[2]))), CPU, lambda: bool(stop.first), command)
        except work.SweepStopped as stopped:
            sys.exit(stopped.code)
