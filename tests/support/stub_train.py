"""Stands in for `train` in the tests of sweeps: leaves in a moment the files that a run leaves, and resumes like one.

Its accuracy rises towards a height that the learning rate and the seed give. Fields that `train` does not know make it
fail: `crash_at` (a step; once, or always with `crash_always`), `refuse`, `guard_at`, `full_at`. Before its step
`held_at` a run waits until it may go on: while the folder `holds` has a file with its name, `TRIAL-seed-N` or `all`.
Each start leaves a line in `seed-N.starts` beside the run.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

PROBLEMS, SAMPLES = 40, 2


def main(words: list[str], asked: Callable[[], bool]) -> int:
    """Do what `-m train` does with these words, until `asked` says stop; returns the exit code."""
    parser = argparse.ArgumentParser()
    for name in ("--config", "--runs_dir", "--name"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(words)
    config = yaml.safe_load(Path(given.config).read_text())
    run = Path(given.runs_dir) / given.name
    with run.with_name(f"{run.name}.starts").open("a") as file:
        file.write(f"{'resumed' if given.resume else 'fresh'} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if config.get("refuse"):
        print("error: this setting is refused", file=sys.stderr)
        return 2
    (run / "rollouts.parquet").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("")
    checkpoint = run / "checkpoints" / "last"
    checkpoint.parent.mkdir(exist_ok=True)
    begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
    assert bool(begun) <= given.resume
    metrics = run / "metrics.jsonl"
    logged = metrics.read_text().split("\n")[:-1] if begun else []
    write(metrics, "".join(f"{line}\n" for line in logged if json.loads(line)["step"] <= begun))
    for step in range(begun + 1, config["max_steps"] + 1):
        if asked():
            return 4
        if code := trouble(config, run, step):
            return code
        if step == config.get("held_at"):
            hold(Path(config["holds"]), f"{run.parent.name}-{run.name}", asked)
        if step % config["eval_steps"] == 0:
            evaluate(run, metrics, step, accuracy(config, given.seed, step))
        write(checkpoint, str(step))
    return 0


def hold(holds: Path, name: str, asked: Callable[[], bool]) -> None:
    """Wait until the test lets this run go on, or it is asked to stop."""
    while any((holds / each).exists() for each in (name, "all")) and not asked():
        time.sleep(0.01)


def write(path: Path, text: str) -> None:
    """Whole or not at all: this one is killed as well."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(text)
    partial.replace(path)


def trouble(config: dict, run: Path, step: int) -> int:
    """The exit code that the config asks for at this step, or 0."""
    crashed = run.with_name(f"{run.name}.crashed")
    if step == config.get("crash_at") and (config.get("crash_always") or not crashed.exists()):
        crashed.touch()
        raise RuntimeError("this step does not work")
    if step == config.get("guard_at"):
        print("Stopped at step: the mean reward has fallen", file=sys.stderr)
        return 3
    return 5 if step == config.get("full_at") and not crashed.exists() else 0


def accuracy(config: dict, seed: int, step: int) -> float:
    height = 0.9 - 0.15 * abs(math.log10(config["learning_rate"]) + 3) - 0.02 * seed
    return max(0.0, height * (1 - math.exp(-step / 3)))


def evaluate(run: Path, metrics: Path, step: int, share: float) -> None:
    right = round(share * PROBLEMS * SAMPLES)
    rows = [
        {"problem": f"problem {i // SAMPLES}", "task": "countdown", "correct": i < right, "format": True}
        for i in range(PROBLEMS * SAMPLES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), run / "rollouts.parquet" / f"validation-{step:06d}-rank0-000.parquet")
    with metrics.open("a") as file:
        file.write(json.dumps({"phase": "rl", "step": step, "reward": share}) + "\n")
        told = right / len(rows)
        file.write(json.dumps({"phase": "rl", "step": step, "eval_accuracy": told}) + "\n")


if __name__ == "__main__":
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    sys.exit(main(sys.argv[1:], lambda: bool(signals)))
