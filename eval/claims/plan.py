"""Plans what a run's claims will sample: the options, and every check before the first sample."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval import evaluate
from eval.claims.conditions import ALL_CLAIMS, CLAIMS
from eval.curves.compute import compute_spent
from eval.curves.equal_compute import Control, at_equal_compute, flops_of
from eval.probes import probing
from eval.probes.budget import budgets, most_draws
from eval.sampling.baselines import reads_words
from eval.sampling.source import Source, all_checkpoints, read_source, stages_of
from eval.settings import Effort, ProbeSettings, Settings
from train.files.untrusted import read_json
from train.model.loading import load_tokenizer

HELD = 4  # times that the start's thinking is carried past its end to make it last as long as the trained model's
DRIFT = 100  # problems over which the distance to the start is measured
BASELINE = "step-by-step"  # what the last claim compares with
# Where a file of evidence names the trained model.
NAMED: dict[str, Callable[[Any], str]] = {
    "test-curve": lambda content: content["stages"]["trained"],
    "probes": lambda content: content["checkpoints"][-1]["checkpoint"],
    f"{BASELINE}/results": lambda content: content["checkpoints"][-1]["checkpoint"],
    "controls": lambda content: [figures["trained"] for figures in content.values()][-1],
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The samples that one run's claims need, checked.

    `prompted` is the model that it started from, if that reads words. `files` are those of RUN/evaluation that the
    claims in question are judged by.
    """

    run: Path
    source: Source
    problems: evaluate.Problems
    checkpoints: dict[int, str]
    stages: dict[str, str]
    prompted: str | None
    effort: Effort
    files: frozenset[str]
    controls: tuple[Control, ...] = ()

    @property
    def settings(self) -> Settings:
        """How each checkpoint is evaluated."""
        effort = self.effort
        return Settings(
            len(self.problems.report),
            effort.samples,
            max_new_tokens=self.source.max_new_tokens,
            seed=effort.seed,
            temperatures=effort.temperatures,
            validation_problems=effort.validation_problems,
            validation_samples=effort.validation_samples,
        )

    @property
    def between_settings(self) -> Settings:
        """How a checkpoint between the first and the last is evaluated: a point of a curve needs less than an end."""
        effort = self.effort
        few = min(effort.validation_samples, effort.between_samples)
        return replace(self.settings, samples=min(effort.samples, effort.between_samples), validation_samples=few)

    @property
    def between(self) -> list[str]:
        """The checkpoints between the first and the last."""
        return list(self.checkpoints.values())[1:-1]

    @property
    def probe_settings(self) -> ProbeSettings:
        """How each checkpoint is probed."""
        return ProbeSettings(
            self.effort.probe_problems,
            self.effort.probe_samples,
            max_new_tokens=self.source.max_new_tokens,
            seed=self.effort.seed,
        )

    @property
    def probed(self) -> list[str]:
        """The checkpoint before RL, the base model where that is another, the middle one, and the last."""
        before, *after = self.checkpoints.values()
        middle = after[(len(after) - 1) // 2]
        return list(dict.fromkeys([before, self.stages.get("base", before), middle, after[-1]]))

    @property
    def samples_base(self) -> bool:
        """Whether the base model itself is evaluated: for the thinking curves and the probes."""
        return "base" in self.stages and bool(self.files & {"test-curve", "probes"})

    @property
    def cache(self) -> Path:
        """The folder of the samples."""
        return self.run / "evaluation" / "cache"


def make_plan(
    run: Path,
    effort: Effort,
    *,
    own_tasks: bool = False,
    controls: Sequence[Control] = (),
    claims: Sequence[int] = ALL_CLAIMS,
) -> Plan:
    """Check a run and what it is compared with. Raises ValueError before anything is sampled.

    Only what `claims`, by their numbers, are judged by will be sampled; the checkpoints are evaluated for any of them.
    """
    checkpoints, stages = all_checkpoints(run), stages_of(run)
    source = read_source(run / "config.yaml", own_tasks=own_tasks)
    tokenizers = {name: load_tokenizer(name, source.chat) for name in [*checkpoints.values(), *stages.values()]}
    compute_spent(run, list(checkpoints), 1)
    if controls:
        flops_of(run, [Path(stages["trained"])], 1)
    for control in controls:
        at_equal_compute(control.run, 0.0, 1)
    files = frozenset(condition.figure.file for claim in claims for condition in CLAIMS[claim - 1].conditions)
    base = stages.get("base") if f"{BASELINE}/results" in files else None
    prompted = base if base is not None and reads_words(tokenizers[base]) else None
    settings = Settings(
        effort.problems,
        temperatures=effort.temperatures,
        validation_problems=effort.validation_problems,
        max_new_tokens=source.max_new_tokens,
    )
    problems = evaluate.draw(source, settings)
    _check_kept(run, files | {"controls"} if controls else files, stages["trained"])
    return Plan(run, source, problems, checkpoints, stages, prompted, effort, files, tuple(controls))


def _check_kept(run: Path, files: Set[str], trained: str) -> None:
    """Raise ValueError where evidence that stays as it is speaks of another checkpoint than the run's last."""
    for file, named in NAMED.items():
        path = run / "evaluation" / f"{file}.json"
        if file in files or not path.is_file():
            continue
        anew = "give --against again" if file == "controls" else "judge its claims anew too (leave --claims out)"
        try:
            name = named(read_json(path))
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ValueError(
                f"{path} names no trained checkpoint, so it is of another version: {anew}, or delete it."
            ) from None
        if Path(name).name != Path(trained).name:
            raise ValueError(
                f"{path} is of {Path(name).name}, but the run's last checkpoint is {Path(trained).name}: {anew}, or "
                "delete it."
            )


def expected(plan: Plan) -> int:
    """The most samples that `gather` draws or finds, for a progress bar."""
    effort = plan.effort
    few, wide = (min(limit, len(plan.problems.report)) for limit in (effort.budget_problems, effort.parallel_problems))
    between = len(plan.between)
    whole = len(plan.checkpoints) - between + len(plan.controls) + plan.samples_base
    return (
        evaluate.expected(plan.source, plan.settings, whole)
        + evaluate.expected(plan.source, plan.between_settings, between)
        + len(plan.problems.report[:DRIFT])
        + ("test-curve" in plan.files)
        * len(plan.stages)
        * (_expected_of_budgets(effort, few) + wide * effort.parallel_samples)
        + ("probes" in plan.files) * probing.expected(plan.source, plan.probe_settings, len(plan.probed))
        + (evaluate.expected(plan.source, plan.settings, 2, BASELINE) if plan.prompted else 0)
    )


def _expected_of_budgets(effort: Effort, problems: int) -> int:
    draws = HELD + 1
    return problems * effort.budget_samples * (1 + draws + most_draws(budgets(1, 1 << 30, habit=1)))
