"""Controls of equal compute without RL, which a gain from RL has to beat.

A control is a run of its own, such as a longer cold start (`more-cold-start`) or rejection-sampling fine-tuning
(`rft`). Both sides are charged alike, by their own records: everything from the start of RL on, and of the control
everything beyond what had gone into the run by then.
"""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.paths import user_path
from eval.curves.compute import compute_spent
from train.files.checkpoints import COLD_START, fault, step_in, step_of
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_metrics

ENOUGH = 0.9  # of the run's compute: to beat a control that had less says nothing


@dataclass(frozen=True, slots=True)
class Control:
    """A run to compare with, under the name that the user gave it."""

    name: str
    run: Path


@dataclass(frozen=True, slots=True)
class Spent:
    """A checkpoint and the FLOPs that went into it, cold start included."""

    checkpoint: str
    flops: float


def read_control(text: str) -> Control:
    """Read `NAME=RUN`. Raises ArgumentTypeError."""
    name, separator, run = text.partition("=")
    if not (name and separator and run):
        raise ArgumentTypeError(f"{text!r} is not NAME=RUN, such as more-cold-start=runs/longer")
    if not (Path(run) / "config.yaml").is_file():
        raise ArgumentTypeError(f"{run} is not a run folder: it has no config.yaml")
    return Control(name, Path(run))


def share_out(controls: Sequence[Control], runs: int) -> list[list[Control]]:
    """The controls of each run: the first of every name is the first run's. Raises ValueError where some lack one."""
    by_name: dict[str, list[Control]] = {}
    for control in controls:
        by_name.setdefault(control.name, []).append(control)
    for name, each in by_name.items():
        if len(each) != runs:
            raise ValueError(f"--against {name}=… is given {len(each)} times for {runs} runs; give one for each run.")
    return [[each[place] for each in by_name.values()] for place in range(runs)]


def flops_at_start(run: Path, parameters: int) -> float:
    """FLOPs that went into the model that RL starts from: the run's cold start, and all of a run that it went on from.

    Raises ValueError where the logs do not tell.
    """
    cold_start = _cold_start_flops(run, parameters) if (run / "checkpoints" / COLD_START).is_dir() else 0.0
    return _inherited(run, parameters) + cold_start


def flops_of(run: Path, checkpoints: Sequence[Path], parameters: int) -> list[float]:
    """FLOPs that went into each of a run's checkpoints, all that came before RL included. Raises ValueError."""
    steps = [0 if path.name == COLD_START else step_of(path) for path in checkpoints]
    spent = compute_spent(run, steps, parameters) if any(steps) else []
    start = flops_at_start(run, parameters)
    return [start + at.flops for at in spent] or [start] * len(steps)


def at_equal_compute(run: Path, flops: float, parameters: int) -> Spent:
    """The control's checkpoint with at least `flops` and the least beyond; the largest where none has as much.

    Raises ValueError where the run has no complete checkpoint, or its logs do not tell what it spent.
    """
    paths = [path for path in sorted((run / "checkpoints").glob("*")) if _is_checkpoint(path)]
    if not paths:
        raise ValueError(f"{run} has no complete checkpoint to compare with.")
    costs = flops_of(run, paths, parameters)
    return nearest([Spent(str(path), cost) for path, cost in zip(paths, costs, strict=True)], flops)


def nearest(costs: Sequence[Spent], flops: float) -> Spent:
    """See `at_equal_compute`."""
    enough = [one for one in costs if one.flops >= flops]
    return min(enough, key=lambda one: one.flops) if enough else max(costs, key=lambda one: one.flops)


def _is_checkpoint(path: Path) -> bool:
    return (step_in(path.name) is not None or path.name == COLD_START) and fault(path) is None


def _inherited(run: Path, parameters: int) -> float:
    """The FLOPs in the checkpoint that a run started from; 0 where it started from no run of ours.

    A relative path is looked up from here and from every folder that `run` lies in. Raises ValueError where it leads to
    no checkpoint of a run any more: what it cost would be missing, and a share of compute could be negative.
    """
    name = str(read_run_config(run / "config.yaml").get("model", ""))
    model = user_path(name)
    if model.parent.name != "checkpoints":
        return 0.0
    places = [base / model for base in (Path(), *run.resolve().parents)]
    for place in places:
        parent = place.parent.parent
        if (parent / "config.yaml").is_file():
            return 0.0 if parent.resolve() == run.resolve() else flops_of(parent, [place], parameters)[0]
    if len(model.parts) > 2 and not any(place.exists() for place in places):  # two parts may be a hub id
        raise ValueError(
            f"{run} started from {name}, which is not there, so its compute is unknown. Start the command in the "
            "folder that this path begins in, or link to the run that was moved (ln -s) from where it was."
        )
    return 0.0


def _cold_start_flops(run: Path, parameters: int) -> float:
    """FLOPs of a run's cold start, by its own log: 6 N a token, or what transformers counted."""
    path = run / "metrics.jsonl"
    rows = [row for row in read_metrics(path) if row["phase"] == "cold-start"]
    tokens = [row["num_tokens"] for row in rows if "num_tokens" in row]
    flops = [row["total_flos"] for row in rows if "total_flos" in row]
    if tokens:
        return 6.0 * parameters * float(tokens[-1])
    if flops:
        return float(flops[-1])
    raise ValueError(f"{path} does not say what the cold start cost: it has neither num_tokens nor total_flos.")
