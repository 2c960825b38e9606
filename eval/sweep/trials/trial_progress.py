"""The progress of a sweep in the terminal: a bar over its runs, the best so far, and how each trial ended."""

import sys

from optuna.trial import TrialState
from tqdm import tqdm

from data.terminal import say
from eval.sweep.ranking import measure
from eval.sweep.setup.setting import setting
from eval.sweep.setup.space import show
from eval.sweep.trials.records import Trial
from eval.sweep.trials.store import Store
from eval.sweep.trials.tidy import best
from eval.table import show as show_figure


class Progress:
    """The bar of one process. Unfinished runs count by their steps; those of other processes count too."""

    def __init__(self, store: Store) -> None:
        self.store = store
        trials = store.trials()
        self._reported_trials = {trial.number for trial in trials if trial.over}
        self._last_line: tuple[float, str] | None = None
        total = store.spec.count * len(store.spec.seeds)
        self._bar = tqdm(total=total, initial=self._runs(trials), desc=store.spec.name, unit="run", dynamic_ncols=True)

    def update(self) -> None:
        """Read the state of the sweep, and show it."""
        trials = self.store.trials()
        for trial in trials:
            if trial.over and trial.number not in self._reported_trials:
                self._reported_trials.add(trial.number)
                say(f"trial {trial.number}: {came_to(self.store, trial)} ({show(trial.params)})")
        now = self._runs(trials), self._standing(trials)
        if now != self._last_line or sys.stderr.isatty():  # a log need not hold the same line every other second
            self._bar.n, self._last_line = now[0], now
            self._bar.set_postfix_str(now[1])

    def close(self) -> None:
        """Leave the bar as it is."""
        self.update()
        self._bar.close()

    def _runs(self, trials: list[Trial]) -> float:
        """Runs that are over, and the finished shares of the others."""
        spec, done = self.store.spec, 0.0
        for trial in trials:
            for seed, record in trial.runs.items():
                if record.over:
                    done += 1
                elif record.attempts:
                    steps = setting(spec.base, spec.set, spec.space, trial.params)["max_steps"]
                    done += min(1.0, measure.step(self.store.run(trial.number, seed).folder) / steps)
        return round(done, 1)

    def _standing(self, trials: list[Trial]) -> str:
        records = [record for trial in trials for record in trial.runs.values()]
        counts = {
            "running": sum(record.state == "running" for record in records),
            "pruned": sum(trial.pruned_at is not None for trial in trials),
            "failed": sum(trial.frozen.state == TrialState.FAIL for trial in trials),
        }
        words = [f"{count} {name}" for name, count in counts.items() if count]
        if (first := best(self.store, trials)) is not None:
            words.insert(0, f"best {came_to(self.store, first)}, trial {first.number}")
        return ", ".join(words)


def came_to(store: Store, trial: Trial) -> str:
    """A trial's value or, where it has none, its status."""
    if trial.frozen.state != TrialState.COMPLETE:
        return status(trial)
    metric, _, _ = store.spec.metric.partition("/")
    return show_figure(metric, {key: trial.frozen.value for key in ("value", "low", "high")})


def status(trial: Trial) -> str:
    """A trial's status in words."""
    if trial.frozen.state == TrialState.COMPLETE:
        return "complete"
    if trial.pruned_at is not None:
        return f"pruned at step {trial.pruned_at}"
    for seed, record in trial.runs.items():
        if record.state in ("failed", "refused", "guard"):
            return f"{record.attempts[-1].outcome} (seed {seed})"
    states = [record.state for record in trial.runs.values()]
    return "running" if "running" in states else "waiting"
