"""Sweeps whose runs are done by the stub, in this process or in one of their own that can be killed.

    python tests/eval/sweep/stubbed.py FOLDER SPEC.yaml
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.sweep import launch, work
from eval.sweep.check import Machine
from eval.sweep.read import read_spec
from eval.sweep.run import sweep
from eval.sweep.spec import Spec

STUB = Path(__file__).with_name("stub_train.py")
BASE = {"max_steps": 8, "eval_steps": 2, "learning_rate": 1e-3}
SETTLED = {"workers": 2, "threads": 1, "gpus": 0, "at_once": 2, "startup": 2}


def spec(**values: Any) -> Spec:
    """A small sweep as it is when it was checked."""
    given = {"search": {"learning_rate": [1e-4, 1e-3, 1e-2]}, "seeds": (0, 1), "base": BASE, **SETTLED} | values
    return Spec("small", "base.yaml", **given)


def stub(spec: Spec, run: launch.Run, slot: launch.Slot) -> list[str]:
    """The command of a run, with the stub for `accelerate launch -m train`."""
    words = launch.command(spec, run, slot)
    return [sys.executable, str(STUB), *words[words.index("train") + 1 :]]


def do(folder: Path, spec: Spec, asked: Callable[[], bool] = lambda: False, **options: Any) -> Any:
    """Do a sweep with the stub."""
    launch.POLL = work.IDLE = 0.05
    machine = options.pop("machine", Machine((), 2))
    return sweep(folder, spec, machine, asked, words=stub, **options)


if __name__ == "__main__":
    do(Path(sys.argv[1]), read_spec(Path(sys.argv[2])))
