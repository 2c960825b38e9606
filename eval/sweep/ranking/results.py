"""The result of a sweep: the ranking with intervals over seeds and problems, and whether the first is really first."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from optuna.trial import TrialState

from eval.measures.estimators import Estimate, paired_difference
from eval.measures.seeds import across_seeds
from eval.sweep.ranking import measure
from eval.sweep.ranking.importance import Importances, importances
from eval.sweep.setup.spec import Spec
from eval.sweep.trials.records import Record, Trial
from eval.sweep.trials.store import Store
from eval.sweep.trials.trial_progress import status


@dataclass(frozen=True, slots=True)
class Replica:
    """One seed of a trial: its curve so far and, where it is done, its figure and the sums behind it."""

    seed: int
    record: Record
    folder: Path
    curve: dict[int, float]
    estimate: Estimate | None = None
    problems: measure.ByProblem | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial with its result. `estimate` is None where it cannot be ranked.

    `behind` is how much better the first of the ranking is, paired by seed and problem; positive is better.
    """

    trial: Trial
    status: str
    replicas: tuple[Replica, ...]
    estimate: Estimate | None = None
    behind: Estimate | None = None

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def within_noise(self) -> bool:
        """Whether it is behind the first by no more than noise."""
        return self.behind is not None and self.behind.low <= 0 <= self.behind.high

    @property
    def curve(self) -> dict[int, float]:
        """The mean over the seeds at each step that all of those which began have reached."""
        curves = [replica.curve for replica in self.replicas if replica.curve]
        shared = sorted(set.intersection(*map(set, curves))) if curves else []
        return {step: fmean(curve[step] for curve in curves) for step in shared}


@dataclass(frozen=True, slots=True)
class Results:
    """A sweep's entries: `ranked`, the best first, and the `others`, in their order."""

    spec: Spec
    folder: Path
    ranked: tuple[Entry, ...]
    others: tuple[Entry, ...]
    importances: Importances
    over: bool

    @property
    def ties(self) -> tuple[Entry, ...]:
        """The trials that the first is not clearly ahead of."""
        return tuple(entry for entry in self.ranked[1:] if entry.within_noise)

    @property
    def problems(self) -> int:
        """On how many validation problems the trials are judged."""
        problems = self.ranked[0].replicas[0].problems if self.ranked else None
        return len(problems or ())


def collect(store: Store) -> Results:
    """Read the sweep's runs, rank its trials and compare each with the first."""
    spec, trials = store.spec, store.trials()
    entries = [_entry(store, trial) for trial in trials]
    sign = 1 if spec.direction == "maximize" else -1
    ranking = sorted(
        (entry for entry in entries if entry.estimate is not None),
        key=lambda entry: (-sign * entry.estimate.value, entry.number),  # type: ignore[union-attr]
    )
    comparisons = [
        entry if entry is ranking[0] else replace(entry, behind=_difference(ranking[0], entry, sign))
        for entry in ranking
    ]
    others = tuple(entry for entry in entries if entry.estimate is None)
    complete = [entry.trial.frozen for entry in entries if entry.estimate is not None]
    return Results(spec, store.folder, tuple(comparisons), others, importances(spec, complete), store.over(trials))


def _entry(store: Store, trial: Trial) -> Entry:
    replicas = tuple(_replica(store, trial, seed) for seed in trial.runs)
    estimate = None
    if trial.frozen.state == TrialState.COMPLETE:
        estimate = across_seeds([replica.estimate for replica in replicas if replica.estimate is not None])
    return Entry(trial, status(trial), replicas, estimate)


def _replica(store: Store, trial: Trial, seed: int) -> Replica:
    metric, run, record = store.spec.metric, store.run(trial.number, seed), trial.runs[seed]
    curve = measure.curve(run.folder, metric)
    if trial.pruned_at is not None:  # how far a run came before it was stopped is chance
        curve = {step: value for step, value in curve.items() if step <= trial.pruned_at}
    if record.state != "done":
        return Replica(seed, record, run.folder, curve)
    problems = measure.judged(run.folder, store.spec)
    return Replica(seed, record, run.folder, curve, measure.estimate(problems), problems)


def _difference(first: Entry, other: Entry, sign: int) -> Estimate | None:
    """How much better the first is: for each seed paired over the problems that both have, then over the seeds."""
    differences: list[Estimate] = []
    for ours, theirs in zip(first.replicas, other.replicas, strict=True):
        assert ours.problems is not None and theirs.problems is not None  # both trials are complete
        shared = ours.problems.keys() & theirs.problems.keys()
        if not shared:
            return None
        (above, below), (their_above, their_below) = (
            measure.sums({problem: sums[problem] for problem in shared}) for sums in (ours.problems, theirs.problems)
        )
        difference = paired_difference((sign * their_above, their_below), (sign * above, below))
        assert difference is not None  # each problem has a rollout
        differences.append(difference)
    return across_seeds(differences)
