"""The records of a sweep's trials and their runs, and their form in Optuna's storage."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial

from eval.sweep.setup.space import Params

State = Literal["waiting", "running", "done", "pruned", "guard", "failed", "refused", "skipped"]
NUMBER, PRUNED_AT = "trial", "pruned at step"  # attributes of Optuna's trials; `seed 0` and so on hold the records


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a run: by whom, from when to when, and its outcome, which is empty until it ends."""

    worker: str
    began: str
    ended: str = ""
    outcome: str = ""
    code: int | None = None
    said: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it counts against the retries."""
        return self.outcome.startswith("failed")


@dataclass(frozen=True, slots=True)
class Record:
    """The state of one run of a trial, and its attempts."""

    state: State = "waiting"
    worker: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self.state not in ("waiting", "running")

    def ended(self, attempt: Attempt, state: State) -> "Record":
        """The record after its last attempt has ended as `attempt` says."""
        return Record(state, "", (*self.attempts[:-1], attempt))


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and its runs, by seed. `curve` is the mean validation curve of the seeds that decide about pruning."""

    number: int
    params: Params
    runs: dict[int, Record]
    curve: dict[int, float]
    pruned_at: int | None
    frozen: FrozenTrial = field(repr=False)

    @property
    def over(self) -> bool:
        """Whether Optuna knows its result, complete or not."""
        return self.frozen.state.is_finished()


@dataclass(frozen=True, slots=True)
class Run:
    """A trial's run with one seed, and its folder."""

    trial: int
    seed: int
    folder: Path

    @property
    def config(self) -> Path:
        """The trial's training config."""
        return self.folder.with_name("trial.yaml")

    @property
    def log(self) -> Path:
        """The output of its processes."""
        return self.folder.with_name(f"{self.folder.name}.log")


def attributes(number: int, runs: dict[int, Record]) -> dict[str, Any]:
    """The attributes of Optuna's trial."""
    return {NUMBER: number} | {attribute(seed): asdict(record) for seed, record in runs.items()}


def attribute(seed: int) -> str:
    """The attribute that holds the record of a seed's run."""
    return f"seed {seed}"


def read_trial(frozen: FrozenTrial) -> Trial:
    """The trial that Optuna stored."""
    attrs = frozen.user_attrs
    runs = {
        int(name.removeprefix("seed ")): _record(value) for name, value in attrs.items() if name.startswith("seed ")
    }
    return Trial(
        attrs[NUMBER],
        frozen.params,
        runs,
        dict(sorted(frozen.intermediate_values.items())),
        attrs.get(PRUNED_AT),
        frozen,
    )


def now() -> str:
    """The time in the form of the records."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def last_word(run: Run) -> str:
    """The time of a run's last message; empty where there is none."""
    try:
        return datetime.fromtimestamp(run.log.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except FileNotFoundError:
        return ""


def _record(value: dict[str, Any]) -> Record:
    attempts = (Attempt(**attempt | {"said": tuple(attempt["said"])}) for attempt in value["attempts"])
    return Record(value["state"], value["worker"], tuple(attempts))
