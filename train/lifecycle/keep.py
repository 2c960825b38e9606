"""Which checkpoints stay: the newest ones, and the best ones by what validation measured at their step."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.files.checkpoints import checkpoint_name, numbered, step_of

METRIC = "eval_accuracy"


class KeepCheckpoints(TrainerCallback):
    """After each save, deletes all but the `last` newest checkpoints and the `best` best ones. `last` 0 keeps all.

    That which transformers is to load at the end stays too, by whatever metric it is the best.
    """

    def __init__(self, folder: Path, last: int, best: int) -> None:
        self.folder = folder
        self.last = last
        self.best = best

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint is whole and has its name: only now may older ones go."""
        if not (state.is_world_process_zero and self.last):
            return
        steps = sorted(map(step_of, numbered(self.folder)))
        kept = {*steps[-self.last :], *best_steps(steps, state.log_history, self.best)}
        if args.load_best_model_at_end:
            kept.add(state.best_global_step)
        for step in set(steps) - kept:
            shutil.rmtree(self.folder / checkpoint_name(step))


def best_steps(steps: Sequence[int], history: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The `count` steps of best validation accuracy, the later of two that are equal; one never validated has none."""
    measured = {logs["step"]: logs[METRIC] for logs in history if METRIC in logs}
    return sorted(measured.keys() & set(steps), key=lambda step: (measured[step], step), reverse=True)[:count]
