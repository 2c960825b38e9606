"""What evaluation, probes and claims sample: each option with its default, its range and its help.

Imports nothing heavy, so that scripts print their help at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.task import Split
from eval.sampling.source import MAX_NEW_TOKENS
from train.config.run_config import BACKENDS, PROBLEMS
from train.config.values import Range, checked_values, setting
from train.rollout import interface

BENCHMARKS = Path(__file__).parents[1] / "configs" / "benchmarks"  # a file for each
BASELINES = ("direct", "step-by-step", "few-shot", "majority")
TEMPERATURES = (0.0, 0.3, 0.6, 0.8, 1.0)  # 0 is greedy decoding
SOME = Range(least=1, most=100_000)  # samples of a problem
SEVERAL = Range(least=2, most=PROBLEMS)  # problems: fewer than two have no interval
SEED = Range(least=0, below=2**63, words="0 or more, of 63 bits")
TEMPERATURE = Range(least=interface.LEAST_TEMPERATURE, also=(0.0,), words=interface.TEMPERATURES)


@dataclass(frozen=True, slots=True)
class Settings:
    """How every checkpoint is sampled.

    All measures are taken at `temperature`; accuracy also at the best of `temperatures`, chosen for each checkpoint on
    `validation_problems` problems with `validation_samples` samples of each.
    """

    problems: int = setting(400, "most held-out problems", range=SEVERAL)
    samples: int = setting(4, "samples of each problem", range=SOME)
    temperature: float = setting(1.0, "temperature of every measure but accuracy at best decoding", range=TEMPERATURE)
    max_new_tokens: int = setting(MAX_NEW_TOKENS, "longest completion", range=Range(least=1))
    seed: int = setting(0, "seed of the sampling", range=SEED)
    split: Split = "test"
    backend: str = setting("engine", "the back end that samples", choices=BACKENDS)
    temperatures: tuple[float, ...] = setting(
        TEMPERATURES,
        "temperatures from which each model's best decoding is chosen, 0 is greedy; if there is only one, it is used "
        "as it is",
    )
    validation_problems: int = setting(
        200, "other held-out problems, on which the best decoding is chosen", range=SEVERAL
    )
    validation_samples: int = setting(4, "samples of each validation problem at each temperature", range=SOME)
    skip: int = setting(
        0,
        "held-out problems to pass over, such as the first 400, where a recipe was developed on them; of a task that "
        "draws its problems the later ones are rarer, and may be harder",
        range=Range(least=0, most=PROBLEMS),
    )

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        checked_values(self)
        check_temperatures(self.temperatures)

    def samples_at(self, temperature: float) -> int:
        """Samples of a problem; greedy ones are all alike."""
        return self.samples if temperature else 1


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What the probes ask of every checkpoint alike."""

    problems: int = setting(200, "most held-out problems", range=SEVERAL)
    samples: int = setting(2, "samples of each problem", range=SOME)
    temperature: float = setting(1.0, "of the sampling", range=Range(least=0, words="0 (greedy) or more"))
    max_new_tokens: int = setting(512, "longest completion", range=Range(least=4))
    seed: int = setting(0, "of the sampling", range=SEED)
    split: Split = "test"

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        checked_values(self)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is sampled for the claims."""

    problems: int = setting(400, "held-out problems that every checkpoint answers", range=SEVERAL)
    samples: int = setting(4, "samples of each problem, besides a greedy one", range=SOME)
    between_samples: int = setting(
        2, "samples of each problem for the checkpoints between the first and the last", range=SOME
    )
    temperatures: tuple[float, ...] = setting(
        TEMPERATURES, "temperatures from which each model's best decoding is chosen"
    )
    validation_problems: int = setting(
        200, "other held-out problems, on which the best decoding is chosen", range=SEVERAL
    )
    validation_samples: int = setting(4, "samples of each validation problem at each temperature", range=SOME)
    budget_problems: int = setting(200, "how many of the problems are asked at each thinking budget", range=SEVERAL)
    budget_samples: int = setting(2, "samples of each of them at each budget", range=SOME)
    parallel_problems: int = setting(100, "how many of the problems are asked for pass@k and maj@k", range=SEVERAL)
    parallel_samples: int = setting(32, "samples of each of them, which is the largest k", range=SOME)
    probe_problems: int = setting(
        200, "problems on which the first, middle and last checkpoints are probed", range=SEVERAL
    )
    probe_samples: int = setting(2, "samples of each problem in the probes", range=SOME)
    seed: int = setting(0, "seed of the sampling", range=SEED)

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        checked_values(self)
        check_temperatures(self.temperatures)


@dataclass(frozen=True, slots=True)
class GymSettings:
    """How much is sampled of each task of reasoning-gym."""

    problems: int = setting(8, "problems of each task", range=Range(least=1))
    samples: int = setting(8, "samples of each problem", range=Range(least=2))
    answer_tokens: int = setting(
        48, "longest answer; a task with longer right answers is left out", range=Range(least=1)
    )
    prompt_tokens: int = setting(1024, "longest prompt; a task with longer ones is left out", range=Range(least=1))
    seed: int = setting(0, "seed of the problems and the sampling")

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        checked_values(self)


def benchmark_names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(path.stem for path in BENCHMARKS.glob("*.yaml"))


def check_temperatures(temperatures: Sequence[float]) -> None:
    """Raise ValueError naming the first temperature that is none, or that is repeated."""
    if not temperatures:
        raise ValueError("there is no temperature to sample at; give at least one, such as --temperatures 0 1.")
    for temperature in temperatures:
        if not interface.is_temperature(temperature):
            raise ValueError(f"a temperature is {temperature}; expected {interface.TEMPERATURES}.")
        if temperatures.count(temperature) > 1:
            raise ValueError(f"the temperature {temperature:g} is given twice; give each once.")
