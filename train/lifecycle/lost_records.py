"""Records that a resumed run has lost: logged steps and rollouts from before its checkpoint that are no longer there.

Training goes on exactly without them, but a report or a claim made from what is left would silently cover less than the
run has done. So they are counted and reported when the run is resumed.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trl import GRPOConfig

from train.cold_start import LOGGING_STEPS
from train.files.checkpoints import step_of
from train.files.untrusted import metrics_parts, read_json, read_metrics, read_metrics_part

PARQUET = b"PAR1"  # the first and the last bytes of a file


def lost_records(
    run_folder: Path, checkpoint: Path, training: GRPOConfig, processes: int, cold_start_steps: int = 0
) -> list[str]:
    """A line each for the metrics, the rollouts and those of validation, where some are missing up to `checkpoint`.

    A run with a cold start of `cold_start_steps` has its metrics too.
    """
    history = read_json(checkpoint / "trainer_state.json")["log_history"]
    lines = []
    if steps := lost_cold_start_steps(run_folder / "metrics.jsonl", cold_start_steps):
        lines.append(
            f"warning: {run_folder / 'metrics.jsonl'} lacks {_count(steps, 'logged step')} of the cold start; curves "
            "and reports leave them out."
        )
    if steps := lost_steps(run_folder / "metrics.jsonl", history):
        lines.append(
            f"warning: {run_folder / 'metrics.jsonl'} lacks {_count(steps, 'logged step')}; they are in "
            f"{checkpoint / 'trainer_state.json'}, but curves and reports leave them out."
        )
    if steps := repeated_steps(run_folder / "metrics.jsonl"):
        lines.append(
            f"warning: {run_folder / 'metrics.jsonl'} has the lines of {_count(steps, 'step')} more than once; the "
            "copies are deleted."
        )
    if steps := disordered_steps(run_folder / "metrics.jsonl"):
        lines.append(
            f"warning: {run_folder / 'metrics.jsonl'} has the lines of {_count(steps, 'step')} out of order; they are "
            "sorted."
        )
    rollouts = run_folder / "rollouts.parquet"
    if steps := lost_rollouts(rollouts, sampled_steps(step_of(checkpoint), training), processes):
        lines.append(f"warning: {rollouts} lacks the rollouts of {_count(steps, 'step')}; reports leave them out.")
    if steps := lost_validations(rollouts, history):
        lines.append(
            f"warning: {rollouts} lacks the rollouts of {_count(steps, 'validation')}; reports and sweeps leave them "
            "out."
        )
    return lines


def lost_steps(metrics: Path, history: Iterable[dict[str, object]]) -> list[int]:
    """The RL steps that trainer_state.json's `log_history` has more lines of than `metrics`."""
    in_file = Counter(row["step"] for row in read_metrics(metrics) if row["phase"] == "rl")
    in_history = Counter(int(str(row["step"])) for row in history if "train_runtime" not in row)
    return sorted(step for step, count in in_history.items() if in_file[step] < count)


def lost_cold_start_steps(metrics: Path, steps: int) -> list[int]:
    """The logged steps of a cold start of `steps` steps that are missing from `metrics`."""
    in_file = {row["step"] for row in read_metrics(metrics) if row["phase"] == "cold-start"}
    expected = {*range(LOGGING_STEPS, steps + 1, LOGGING_STEPS), *([steps] if steps else [])}
    return sorted(expected - in_file)


def repeated_steps(metrics: Path) -> list[int]:
    """The steps of the lines that `metrics` has more than once."""
    lines = Counter((row["step"], json.dumps(row)) for row in read_metrics(metrics))
    return sorted(step for (step, _), count in lines.items() if count > 1)


def disordered_steps(metrics: Path) -> list[int]:
    """The steps of the lines of `metrics` that stand behind a later step of their phase; copies do not count."""
    steps = set()
    for part in metrics_parts(metrics):
        last: dict[str, int] = {}
        for row in {json.dumps(row): row for row in read_metrics_part(part)}.values():  # in the order of the first
            if row["step"] < last.get(row["phase"], row["step"]):
                steps.add(row["step"])
            last[row["phase"]] = max(row["step"], last.get(row["phase"], row["step"]))
    return sorted(steps)


def lost_rollouts(folder: Path, steps: Iterable[int], processes: int) -> list[int]:
    """The `steps` whose training rollouts are incomplete: the file of some process is missing or cut off."""
    present = {path.name for path in folder.glob("train-*.parquet") if _is_whole(path)}
    names = {step: [f"train-{step:06d}-rank{rank}-000.parquet" for rank in range(processes)] for step in steps}
    return [step for step, files in names.items() if not present.issuperset(files)]


def lost_validations(folder: Path, history: Iterable[dict[str, object]]) -> list[int]:
    """The validations in trainer_state.json's `log_history` whose rollouts are lost."""
    present = {int(path.name.split("-")[1]) for path in folder.glob("validation-*.parquet") if _is_whole(path)}
    validations = {int(str(row["step"])) for row in history if any(name.startswith("eval_") for name in row)}
    return sorted(validations - present)


def _is_whole(parquet: Path) -> bool:
    """Whether a file begins and ends as parquet does: thousands of footers would take long to read."""
    with parquet.open("rb") as file:
        begins = file.read(4) == PARQUET
        file.seek(max(0, parquet.stat().st_size - 4))
        return begins and file.read(4) == PARQUET


def sampled_steps(last: int, training: GRPOConfig) -> list[int]:
    """The steps up to `last` that sampled rollouts; several steps may train on one batch."""
    cycle = training.steps_per_generation * training.num_iterations / training.gradient_accumulation_steps
    draws = (int(number * cycle) + 1 for number in range(int(last / cycle) + 1))
    return sorted({step for step in draws if step <= last})


def _count(steps: list[int], what: str) -> str:
    return f"{len(steps)} {what}{'s' * (len(steps) > 1)} (the first is {steps[0]})"
