"""Plans what a run's claims will sample: the options, and every check before the first sample."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from data.problem import Problem
from eval import evaluate
from eval.claims.conditions import CLAIMS
from eval.curves.equal_compute import Control, at_equal_compute, flops_of
from eval.curves.training_curve import compute_spent
from eval.probes import probing as probe
from eval.probes.budget import budgets, most_draws
from eval.sampling.baselines import reads_words
from eval.sampling.decodings import TEMPERATURES
from eval.sampling.source import Source, all_checkpoints, read_source, stages_of
from train.config.values import checked_values, setting
from train.model.loading import load_tokenizer

HELD = 4  # times that the start's thinking is carried past its end to make it last as long as the trained model's
DRIFT = 100  # problems over which the distance to the start is measured
BASELINE = "step-by-step"  # what the last claim compares with
ALL_CLAIMS = tuple(range(1, len(CLAIMS) + 1))


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is sampled: the options of scripts/claims.py, each with its help."""

    problems: int = setting(400, "held-out problems that every checkpoint answers")
    samples: int = setting(4, "samples of each problem, besides a greedy one")
    between_samples: int = setting(2, "samples of each problem for the checkpoints between the first and the last")
    temperatures: tuple[float, ...] = setting(
        TEMPERATURES, "temperatures from which each model's best decoding is chosen"
    )
    validation_problems: int = setting(200, "other held-out problems, on which the best decoding is chosen")
    validation_samples: int = setting(4, "samples of each validation problem at each temperature")
    budget_problems: int = setting(200, "how many of the problems are asked at each thinking budget")
    budget_samples: int = setting(2, "samples of each of them at each budget")
    parallel_problems: int = setting(100, "how many of the problems are asked for pass@k and maj@k")
    parallel_samples: int = setting(32, "samples of each of them, which is the largest k")
    probe_problems: int = setting(200, "problems on which the first, middle and last checkpoints are probed")
    probe_samples: int = setting(2, "samples of each problem in the probes")
    seed: int = setting(0, "seed of the sampling")

    def __post_init__(self) -> None:
        """Raise ValueError naming the first number that is too small."""
        for name in ("problems", "validation_problems", "budget_problems", "parallel_problems", "probe_problems"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 2, to have an interval.")
        for name in (option.name for option in fields(self) if option.name.endswith("samples")):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run's claims will sample, checked.

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
    def asked(self) -> list[Problem]:
        """The problems that are reported on."""
        return self.problems.asked

    @property
    def settings(self) -> evaluate.Settings:
        """How each checkpoint is evaluated."""
        effort = self.effort
        return evaluate.Settings(
            len(self.asked),
            effort.samples,
            max_new_tokens=self.source.max_new_tokens,
            seed=effort.seed,
            temperatures=effort.temperatures,
            validation_problems=effort.validation_problems,
            validation_samples=effort.validation_samples,
        )

    def check(self) -> None:
        """Raise ValueError if the effort is outside the range that evaluation or the probes allow."""
        checked_values(self.settings)
        checked_values(self.probe_settings)

    @property
    def between_settings(self) -> evaluate.Settings:
        """How a checkpoint between the first and the last is evaluated: a point of a curve needs less than an end."""
        effort = self.effort
        few = min(effort.validation_samples, effort.between_samples)
        return replace(self.settings, samples=min(effort.samples, effort.between_samples), validation_samples=few)

    @property
    def between(self) -> list[str]:
        """The checkpoints between the first and the last."""
        return list(self.checkpoints.values())[1:-1]

    @property
    def probe_settings(self) -> probe.Settings:
        """How each checkpoint is probed."""
        return probe.Settings(
            self.effort.probe_problems,
            self.effort.probe_samples,
            max_new_tokens=self.source.max_new_tokens,
            seed=self.effort.seed,
        )

    @property
    def probed(self) -> list[str]:
        """The checkpoint before reinforcement, the base model where that is another, the middle one, and the last."""
        before, *after = self.checkpoints.values()
        middle = after[(len(after) - 1) // 2]
        return list(dict.fromkeys([before, self.stages.get("base", before), middle, after[-1]]))

    @property
    def samples_base(self) -> bool:
        """Whether the base model itself is evaluated: for the thinking curves and the probes."""
        return "base" in self.stages and bool(self.files & {"test-curve", "probes"})

    @property
    def cache(self) -> Path:
        """Where the samples are kept."""
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
        flops_of(run, Path(stages["trained"]), 1)
    for control in controls:
        at_equal_compute(control.run, 0.0, 1)
    files = frozenset(condition.figure.file for claim in claims for condition in CLAIMS[claim - 1].conditions)
    base = stages.get("base") if f"{BASELINE}/results" in files else None
    prompted = base if base is not None and reads_words(tokenizers[base]) else None
    settings = evaluate.Settings(
        effort.problems,
        temperatures=effort.temperatures,
        validation_problems=effort.validation_problems,
        max_new_tokens=source.max_new_tokens,
    )
    problems = evaluate.draw(source, settings)
    plan = Plan(run, source, problems, checkpoints, stages, prompted, effort, files, tuple(controls))
    plan.check()
    return plan


def expected(plan: Plan) -> int:
    """How many samples `gather` draws or finds at the most, for a progress bar."""
    effort = plan.effort
    few, wide = (min(limit, len(plan.asked)) for limit in (effort.budget_problems, effort.parallel_problems))
    between = len(plan.between)
    whole = len(plan.checkpoints) - between + len(plan.controls) + plan.samples_base
    return (
        evaluate.expected(plan.source, plan.settings, whole)
        + evaluate.expected(plan.source, plan.between_settings, between)
        + len(plan.asked[:DRIFT])
        + ("test-curve" in plan.files)
        * len(plan.stages)
        * (_expected_of_budgets(effort, few) + wide * effort.parallel_samples)
        + ("probes" in plan.files) * probe.expected(plan.source, plan.probe_settings, len(plan.probed))
        + (evaluate.expected(plan.source, plan.settings, 2, BASELINE) if plan.prompted else 0)
    )


def _expected_of_budgets(effort: Effort, problems: int) -> int:
    draws = HELD + 1
    return problems * effort.budget_samples * (1 + draws + most_draws(budgets(1, 1 << 30, habit=1)))
