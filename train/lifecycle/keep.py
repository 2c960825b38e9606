"""Which checkpoints are written besides every `save_steps`, and which stay: named, newest and best ones."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.files.checkpoints import checkpoint_name, numbered, step_of

METRIC = "eval_accuracy"


class KeepCheckpoints(TrainerCallback):
    """Saves at the steps in `always`, and deletes what need not stay after each save. `last` 0 keeps all.

    The `last` newest checkpoints stay, the `best` best ones, those of `always`, and the one that transformers is to
    load at the end.
    """

    def __init__(self, folder: Path, last: int, best: int, always: Sequence[int] = ()) -> None:
        self.folder = folder
        self.last = last
        self.best = best
        self.always = frozenset(always)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save a checkpoint at the steps in `always`, which `save_steps` may skip."""
        if state.global_step in self.always:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint is whole and has its name: only now may older ones go."""
        if not (state.is_world_process_zero and self.last):
            return
        steps = sorted(map(step_of, numbered(self.folder)))
        staying = {*steps[-self.last :], *best_steps(steps, state.log_history, self.best), *self.always}
        if args.load_best_model_at_end:
            staying.add(state.best_global_step)
        for step in set(steps) - staying:
            shutil.rmtree(self.folder / checkpoint_name(step))


def best_steps(steps: Sequence[int], history: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The `count` steps with the best validation accuracy, of equal ones the later; all must have been validated."""
    accuracies = {logs["step"]: logs[METRIC] for logs in history if METRIC in logs}
    return sorted(accuracies.keys() & set(steps), key=lambda step: (accuracies[step], step), reverse=True)[:count]
