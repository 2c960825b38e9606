"""A sweep's folder.

SWEEP/sweep.yaml               the spec, with the base config in it
SWEEP/sweep.db                 Optuna's SQLite storage; `optuna-dashboard sqlite:///SWEEP/sweep.db` shows it
SWEEP/trials/007/trial.yaml    a setting, as a training config
SWEEP/trials/007/seed-1/       a run folder like any other; seed-1.log beside it is what the run said
SWEEP/workers/                 a file for each process at work
SWEEP/results.json, report.html, best.yaml    what came out
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import filelock

from eval.sweep.setup.read import SETTLED, STORED, changed, read_spec
from eval.sweep.setup.spec import FREE, Spec
from train.files.atomic import write_text


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: nobody else changes anything meanwhile, on any machine.

    The folder must lie on a file system whose locks hold between all machines at work: a local disk, NFS 4, Lustre with
    flock.
    """
    with filelock.FileLock(folder / ".lock"):
        yield


def going_on(folder: Path, spec: Spec) -> Spec:
    """The spec to go by: that of the sweep in the folder, if there is one, with what may have changed since.

    Raises ValueError, naming the fields, where it is another sweep's.
    """
    if not (folder / STORED).is_file():
        return spec
    before = read_spec(folder)
    if differing := changed(before, spec):
        raise ValueError(
            f"{folder} holds a sweep that began with another spec: {'; '.join(differing)}. Put that back, or give "
            "the new one another --folder."
        )
    return replace(before, **{name: getattr(spec, name) for name in FREE})


def open_folder(folder: Path, spec: Spec) -> Spec:
    """Make the folder of a sweep that was checked, or go on with the one there; returns the spec to go by.

    What the spec leaves open was settled when the sweep began, maybe on another machine. Raises
    ValueError where it is another sweep's folder, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if (folder / STORED).is_file():
                before = read_spec(folder)
                spec = going_on(folder, replace(spec, **{name: getattr(before, name) for name in SETTLED}))
            elif any(path.name != ".lock" for path in folder.iterdir()):
                raise ValueError(f"{folder} holds files but no {STORED}, so it is no sweep's; give another --folder.")
            write_text(folder / STORED, spec.to_yaml())
            return spec
    except OSError as error:
        raise ValueError(f"The sweep folder {folder} cannot be written: {error.strerror}.") from None
