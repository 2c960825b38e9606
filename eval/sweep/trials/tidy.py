"""Keeping the disk: of large models the checkpoints of trials that are beaten need not stay."""

import shutil

from optuna.trial import TrialState

from eval.sweep.trials.records import Trial
from eval.sweep.trials.store import Store


def keep_best(store: Store) -> None:
    """Delete the checkpoints of all trials that are over, but the best's and those that may be retried.

    Their curves, rollouts and configurations stay. Does nothing unless the spec says `keep: best`.
    """
    if store.spec.keep != "best":
        return
    trials = store.trials()
    first = best(store, trials)
    for trial in trials:
        if trial.over and trial.frozen.state != TrialState.FAIL and (first is None or trial.number != first.number):
            for seed in trial.runs:
                shutil.rmtree(store.run(trial.number, seed).folder / "checkpoints", ignore_errors=True)


def best(store: Store, trials: list[Trial]) -> Trial | None:
    """The best of the trials that are complete, the earliest of equals; None where none is."""
    complete = [trial for trial in trials if trial.frozen.state == TrialState.COMPLETE]
    sign = 1 if store.spec.direction == "maximize" else -1
    return max(complete, key=lambda trial: (sign * (trial.frozen.value or 0.0), -trial.number), default=None)
