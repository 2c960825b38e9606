"""The fields of a sweep. Everything that can be checked without the training config is checked here."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import yaml

from eval.sweep.setup.setting import check_fields
from eval.sweep.setup.space import MOST, Dimension, read_space, size
from train.config.checks import check_name
from train.config.values import setting
from train.rollout.interface import TEMPERATURES, is_temperature

# Measured on the validation problems at the last step: the test set is not for choosing. A task may stand behind `/`.
METRICS = ("accuracy", "format", "truncated", "thinking_tokens")
FREE = ("trials", "workers", "retries", "keep")  # what may change while a sweep goes on
SEEDS = 2**32  # above all that a run takes
TRIALS = 20  # of a random or TPE sweep that does not say


@dataclass(frozen=True, slots=True)
class Prune:
    """When a trial is stopped early: its first seeds' validation curve is compared with the trials before it."""

    method: str = setting(
        "median", "`median` stops a trial below the median at its step; `asha` is successive halving."
    )
    after: int = setting(4, "Trials that must have ended before one may be stopped.")
    from_step: int = setting(1, "First RL step at which a trial may be stopped.")
    factor: int = setting(3, "asha: one in this many trials continues at each rung.")
    seeds: int = setting(1, "Seeds whose mean curve decides; the other seeds run only if the trial is not stopped.")

    def __post_init__(self) -> None:
        """Raise ValueError for the first invalid value."""
        _one_of("prune.method", self.method, ("median", "asha"))
        for name, least in (("after", 1), ("from_step", 1), ("factor", 2), ("seeds", 1)):
            _whole(f"prune.{name}", getattr(self, name), least)


@dataclass(frozen=True, slots=True)
class Spec:
    """A sweep."""

    name: str = field(
        metadata={"help": "Name of the sweep; by default that of the file. Its folder is runs/sweeps/NAME."}
    )
    config: str = field(metadata={"help": "Path of the training config that every trial starts from."})
    search: dict[str, Any] = field(
        metadata={
            "help": "Mapping of field to choices [1, 2] or range {low, high, log, step, points}; a dot leads inside."
        }
    )
    set: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Fields of every trial, which override the config's; a dot names a nested field."},
    )
    method: Literal["grid", "random", "tpe"] = setting(
        "grid", "`grid`, `random`, or `tpe` (Optuna's, which learns from earlier trials)."
    )
    trials: int | None = setting(None, f"Settings to try; {TRIALS} by default; a grid always tries all.")
    seeds: tuple[int, ...] = setting((0, 1, 2), "Seeds of each trial: a list, or their number; 3 by default.")
    metric: str = setting(
        "accuracy", f"What trials are ranked by: {', '.join(METRICS)}; or one task's, such as accuracy/countdown."
    )
    temperatures: tuple[float, ...] = setting(
        (),
        "Sample each finished run at these temperatures (0 is greedy) and judge it at the best. Without them "
        "training's own temperature decides, and a run may win by sharpening alone; `prune` always goes by that one.",
    )
    direction: Literal["maximize", "minimize"] = setting("maximize", "maximize or minimize.")
    prune: Prune | None = setting(None, "Stop bad trials early: {method, after, from_step, factor, seeds}.")
    startup: int | None = setting(None, "tpe: random trials at the start; 10, or a third of all if that is fewer.")
    workers: int | None = setting(None, "Runs at once on a machine; by default one, or as many as its GPUs allow.")
    at_once: int | None = setting(
        None, "tpe, prune: trial n knows the results up to trial n - at_once; by default the number of workers."
    )
    gpus: int | None = setting(None, "GPUs of each run; by default 1, or 0 if the machine has none or use_cpu is set.")
    threads: int | None = setting(None, "CPU threads of each process; by default its share of the cores.")
    launch: tuple[str, ...] = setting((), "More arguments for `accelerate launch`, a list.")
    retries: int = setting(1, "How often a crashed run is tried again, from its last checkpoint.")
    keep: Literal["last", "best"] = setting(
        "last", "Checkpoints to keep: the last of every run, or only those of the best trial's runs."
    )
    seed: int = setting(0, "Seed of the settings that random and tpe draw.")
    base: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "The content of `config`, kept in the sweep's folder."}
    )

    def __post_init__(self) -> None:
        """Raise ValueError for the first invalid value."""
        _one_of("method", self.method, ("grid", "random", "tpe"))
        _one_of("direction", self.direction, ("maximize", "minimize"))
        _one_of("keep", self.keep, ("last", "best"))
        check_name(self.name)
        for name, least in (("trials", 1), ("startup", 1), ("workers", 1), ("at_once", 1), ("gpus", 0), ("threads", 1)):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        for name in ("startup", "workers", "gpus"):
            if (getattr(self, name) or 0) > MOST:
                raise ValueError(f"{name} is {getattr(self, name):,}; expected at most {MOST:,}.")
        _whole("retries", self.retries, 0)
        _whole("seed", self.seed, 0)
        if not self.seeds or any(type(s) is not int for s in self.seeds) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}; expected different whole numbers, or how many.")
        if bad := [seed for seed in self.seeds if not 0 <= seed < SEEDS]:
            raise ValueError(f"seeds has {bad[0]}; expected numbers of 0 to {SEEDS - 1:,}.")
        if self.metric.partition("/")[0] not in METRICS:
            raise ValueError(
                f"metric is {self.metric!r}; expected one of {', '.join(METRICS)}, or one task's, as accuracy/TASK: "
                "trials are judged on the validation problems."
            )
        if wrong := [t for t in self.temperatures if not is_temperature(t) or self.temperatures.count(t) > 1]:
            raise ValueError(f"temperatures has {wrong[0]!r}; expected different ones, each {TEMPERATURES}.")
        if self.prune and self.temperatures and "temperature" in self.search:
            raise ValueError(
                "search.temperature and prune: runs would be stopped by their accuracy at different temperatures; "
                "leave prune out."
            )
        if self.prune and self.prune.seeds > len(self.seeds):
            raise ValueError(f"prune.seeds is {self.prune.seeds}, but there are only {len(self.seeds)} seeds.")
        check_fields(self.set, self.space)
        self._check_count()

    def _check_count(self) -> None:
        total = self._settings()
        if (self.method == "grid" and total > MOST) or (self.trials or 0) > MOST:
            count = int(total) if self.method == "grid" else self.trials
            raise ValueError(f"The sweep has {count:,} trials; expected at most {MOST:,}.")
        if self.method == "grid" and self.trials not in (None, total):
            raise ValueError(f"trials is {self.trials}, but the grid has {total:.0f} settings; leave trials out.")
        if self.trials is not None and self.trials > total:
            raise ValueError(f"trials is {self.trials}, but there are only {total:.0f} settings; use method: grid.")

    def _settings(self) -> float:
        """The number of settings to try."""
        return math.prod(len(d.grid) for d in self.space) if self.method == "grid" else size(self.space)

    @property
    def space(self) -> tuple[Dimension, ...]:
        """The searched fields."""
        return read_space(self.search)

    @property
    def count(self) -> int:
        """The number of trials."""
        return int(self._settings()) if self.method == "grid" else self.trials or int(min(TRIALS, self._settings()))

    @property
    def scouts(self) -> tuple[int, ...]:
        """The seeds that run first, whose curve decides whether the trial is given up; all, where nothing does."""
        return self.seeds[: self.prune.seeds] if self.prune else self.seeds

    @property
    def startup_trials(self) -> int:
        """Trials that TPE draws at random before it has any results."""
        return self.startup or max(1, min(10, self.count // 3))

    @property
    def measured(self) -> str:
        """The metric as a table names it."""
        return f"{self.metric} at best decoding" if self.temperatures else self.metric

    @property
    def ordered(self) -> bool:
        """Whether a trial depends on the results of earlier ones, and so begins only when those are over."""
        return self.method == "tpe" or self.prune is not None

    def to_yaml(self) -> str:
        """The spec as a sweep's folder keeps it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {name: list(getattr(self, name)) for name in ("seeds", "temperatures", "launch")}
        if self.prune:
            values["prune"] = {f.name: getattr(self.prune, f.name) for f in fields(Prune)}
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of: {', '.join(choices)}.")


def _whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value < 2**32:
        raise ValueError(f"{name} is {value!r}; expected a whole number, {least} or more.")
