"""Decides what to run next and records what ended: trials in Optuna's storage, under the folder's lock.

Whoever changes anything holds the lock for as long as it takes to read, decide and write. A kill may come before or
after any change: whoever looks next works out again what follows from it.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import optuna
import yaml
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from eval.sweep.setup.folder import locked
from eval.sweep.setup.setting import setting
from eval.sweep.setup.space import Params
from eval.sweep.setup.spec import Spec
from eval.sweep.trials.choose import propose, pruned_at
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.records import (
    PRUNED_AT,
    Attempt,
    Record,
    Run,
    State,
    Trial,
    attribute,
    attributes,
    last_word,
    now,
    read_trial,
)
from train.files.atomic import write_text

LOST = "lost: the sweep process that ran it died"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Store:
    """A process's view of a sweep. `value` measures a run that is done, `curve` one that may still go on."""

    def __init__(
        self,
        folder: Path,
        spec: Spec,
        presence: Presence,
        value: Callable[[Path], float],
        curve: Callable[[Path], dict[int, float]],
    ) -> None:
        self.folder, self.spec, self.presence = folder, spec, presence
        self.value, self.curve = value, curve
        self.exhausted = False  # no setting is left that was not tried
        with locked(folder):
            self._storage = RDBStorage(
                f"sqlite:///{(folder / 'sweep.db').absolute()}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self._study = optuna.create_study(
                storage=self._storage, study_name=spec.name, direction=spec.direction, load_if_exists=True
            )
            self._study_id = self._storage.get_study_id_from_name(spec.name)

    def trials(self) -> list[Trial]:
        """All trials so far, in order; of one that was retried after a failure, its last state."""
        trials = [read_trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]
        return sorted({trial.number: trial for trial in trials}.values(), key=lambda trial: trial.number)

    def run(self, trial: int, seed: int) -> Run:
        """The run of a trial with a seed."""
        return Run(trial, seed, self.folder / "trials" / f"{trial:03d}" / f"seed-{seed}")

    def over(self, trials: list[Trial]) -> bool:
        """Whether every trial is over, and no more will be planned."""
        return (len(trials) == self.spec.count or self.exhausted) and all(trial.over for trial in trials)

    def take(self) -> Run | None:
        """Claim a run for this process to do now; None if there is none at present."""
        with locked(self.folder):
            self._free_the_dead()
            while True:
                trials = [self._settled(trial) for trial in self.trials()]
                for trial in trials:
                    for seed in self._open_seeds(trial):
                        return self._claim(trial, seed)
                if not self._plan(trials):
                    return None

    def finish(self, run: Run, attempt: Attempt, state: State) -> bool:
        """Record how an attempt of this process ended; False where another process has the run by now."""
        with locked(self.folder):
            trial = self._trial(run.trial)
            if trial.runs[run.seed].worker != self.presence.id:
                return False
            self._write(trial, run.seed, trial.runs[run.seed].ended(attempt, state))
            if state == "done":
                self._judge(self._trial(run.trial))
            self._settled(self._trial(run.trial))
            return True

    def pruned(self, run: Run) -> bool:
        """Whether the run's trial is given up, by what its curve shows up to now."""
        if self.spec.prune is None:
            return False
        trial = self._trial(run.trial)
        if trial.pruned_at is None and self._news(trial):
            with locked(self.folder):
                self._judge(self._trial(run.trial))
            trial = self._trial(run.trial)
        return trial.pruned_at is not None

    def retry_failed(self) -> int:
        """Take up again the trials that failed or were refused, in the same folders; returns how many."""
        with locked(self.folder):
            failures = [trial for trial in self.trials() if trial.frozen.state == TrialState.FAIL]
            for trial in failures:  # Optuna's own way: what is finished stays, and another takes its place
                runs = {
                    seed: record if record.state in ("done", "guard") else Record("waiting", "", record.attempts)
                    for seed, record in trial.runs.items()
                }
                self._add(trial.number, trial.params, runs)
            return len(failures)

    def _trial(self, number: int) -> Trial:
        return self.trials()[number]

    def _free_the_dead(self) -> None:
        """Put the runs of dead processes back into the queue."""
        living = self.presence.living()
        for trial in self.trials():
            for seed, record in trial.runs.items():
                if record.state == "running" and record.worker not in living:
                    began = record.attempts[-1].began
                    attempt = Attempt(record.worker, began, last_word(self.run(trial.number, seed)) or began, LOST)
                    self._write(trial, seed, record.ended(attempt, "waiting"))

    def _settled(self, trial: Trial) -> Trial:
        """The trial after the consequences of its runs' states: some are left out, and Optuna learns the result."""
        states = {record.state for record in trial.runs.values()}
        wrong = bool(states & {"failed", "refused"})
        if trial.over or not (wrong or trial.pruned_at is not None or all(r.over for r in trial.runs.values())):
            return trial
        for seed, record in trial.runs.items():
            if record.state == "waiting":
                state: State = "pruned" if record.attempts and not wrong else "skipped"
                self._write(trial, seed, Record(state, "", record.attempts))
        if "running" in states:
            return self._trial(trial.number)
        if wrong:
            self._study.tell(trial.frozen.number, state=TrialState.FAIL)
        elif trial.pruned_at is not None or "guard" in states:
            self._study.tell(trial.frozen.number, state=TrialState.PRUNED)
        else:
            values = [self.value(self.run(trial.number, seed).folder) for seed in trial.runs]
            self._study.tell(trial.frozen.number, fmean(values))
        return self._trial(trial.number)

    def _open_seeds(self, trial: Trial) -> list[int]:
        """The seeds that may run now: where the first ones decide, the others wait for them."""
        if trial.over or trial.pruned_at is not None:
            return []
        decided = all(trial.runs[seed].over for seed in self.spec.scouts)
        seeds = self.spec.seeds if decided else self.spec.scouts
        return [seed for seed in seeds if trial.runs[seed].state == "waiting"]

    def _claim(self, trial: Trial, seed: int) -> Run:
        run = self.run(trial.number, seed)
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        config = setting(self.spec.base, self.spec.set, self.spec.space, trial.params)
        write_text(run.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        attempts = (*trial.runs[seed].attempts, Attempt(self.presence.id, now()))
        self._write(trial, seed, Record("running", self.presence.id, attempts))
        return run

    def _plan(self, trials: list[Trial]) -> bool:
        """Choose the next trial's setting, if its time has come, and store it before anything of it runs."""
        number = len(trials)
        history = self._known(trials, number)
        if number >= self.spec.count or self.exhausted or history is None:
            return False
        params = propose(self.spec, number, [trial.params for trial in trials], history)
        if params is None:
            self.exhausted = True
            return False
        self._add(number, params, {seed: Record() for seed in self.spec.seeds})
        return True

    def _known(self, trials: list[Trial], number: int) -> list[FrozenTrial] | None:
        """The results that trial `number` may know of, or None where one of them is not there yet."""
        if not self.spec.ordered:
            return []
        assert self.spec.at_once is not None  # settled before the sweep began
        earlier = trials[: max(0, number - self.spec.at_once + 1)]
        return [trial.frozen for trial in earlier] if all(trial.over for trial in earlier) else None

    def _news(self, trial: Trial) -> dict[int, float]:
        """Points of the mean curve of the seeds that decide, where each has one and the storage has none.

        The last step is none where no seed waits for the decision: a trial that is whole is not given up.
        """
        curves = [self.curve(self.run(trial.number, seed).folder) for seed in self.spec.scouts]
        last = setting(self.spec.base, self.spec.set, self.spec.space, trial.params)["max_steps"]
        decides = len(self.spec.scouts) < len(self.spec.seeds)
        return {
            step: fmean(curve[step] for curve in curves)
            for step in sorted(set.intersection(*map(set, curves)))
            if step not in trial.curve and (decides or step < last)
        }

    def _judge(self, trial: Trial) -> None:
        """Compare the trial's curve with the earlier ones, and mark it where it is given up."""
        if self.spec.prune is None or trial.pruned_at is not None or trial.over:
            return
        news = self._news(trial)
        history = self._known(self.trials(), trial.number)
        assert history is not None  # else it would not have been planned
        at = pruned_at(self.spec, history, trial.curve | news)
        for step, value in news.items():
            if at is None or step <= at:
                self._storage.set_trial_intermediate_value(self._identity(trial), step, value)
        if at is not None:
            self._storage.set_trial_user_attr(self._identity(trial), PRUNED_AT, at)

    def _add(self, number: int, params: Params, runs: dict[int, Record]) -> None:
        distributions = {dimension.field: dimension.distribution for dimension in self.spec.space}
        attrs = attributes(number, runs)
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=attrs)
        )

    def _write(self, trial: Trial, seed: int, record: Record) -> None:
        self._storage.set_trial_user_attr(self._identity(trial), attribute(seed), asdict(record))

    def _identity(self, trial: Trial) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.frozen.number)
