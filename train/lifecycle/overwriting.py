"""`--overwrite` keeps the old run aside until the new one has done a step, and puts it back if that never happens."""

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.config.run_config import RunConfig
from train.files.untrusted import metrics_parts

WORK = ("checkpoints", "rollouts.parquet", "nonfinite")  # folders of a run that are empty until it has done something


def aside(run: RunConfig) -> Path:
    """The folder of the old run until the new one has begun."""
    return run.folder.with_name(f".{run.name}.old")


def set_aside(run: RunConfig) -> None:
    """Move the run that is to be overwritten out of the way.

    An earlier --overwrite may have been killed before its first step. Then the old run is out of the way already, and
    what that start left behind is removed instead.
    """
    old = aside(run)
    if old.is_dir() and not _has_begun(run.folder):
        shutil.rmtree(run.folder)
        return
    shutil.rmtree(old, ignore_errors=True)
    run.folder.rename(old)


class ForgetOverwritten(TrainerCallback):
    """Deletes the run that was overwritten, after the first step of the new one."""

    def __init__(self, run: RunConfig) -> None:
        self.old = aside(run)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Delete the old run."""
        if state.is_world_process_zero and self.old.exists():
            shutil.rmtree(self.old, ignore_errors=True)


def put_back_unless_begun(run: RunConfig) -> None:
    """Remove the folder of a run that ended before its first step, and restore the run that it was to overwrite.

    So a failed start neither costs the old run nor leaves a folder that blocks the mended command.
    """
    old = aside(run)
    if _has_begun(run.folder):
        shutil.rmtree(old, ignore_errors=True)
        return
    if run.resume:
        return
    shutil.rmtree(run.folder, ignore_errors=True)
    if old.exists():
        old.rename(run.folder)


def _has_begun(folder: Path) -> bool:
    if metrics_parts(folder / "metrics.jsonl"):
        return True
    return any(any((folder / name).iterdir()) for name in WORK if (folder / name).is_dir())
