"""Watch a run's memory, file handles, threads and child processes from outside, and plot them over its steps.

    python scripts/bench_memory.py --config configs/ci.yaml --steps 500 --output build/memory.png

A leak shows as a slope. The slope is fitted over the second half of the RL steps, in MiB per 100 steps.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import psutil  # type: ignore[import-untyped]

matplotlib.use("Agg")
from matplotlib import pyplot

from data.terminal import CommandLine, count
from train.files.untrusted import read_metrics

PERIOD = 0.5  # seconds between looks
NAMES = ("memory (MiB)", "file handles", "threads", "child processes")


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/ci.yaml"), help="the run to watch")
    parser.add_argument("--steps", type=count, default=500, help="RL steps")
    parser.add_argument("--output", type=Path, default=Path("build/memory.png"), help="the plot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        looks = watch(arguments.config, arguments.steps, Path(folder))
    if len(looks) < 10:
        print("error: the run ended before there was anything to see", file=sys.stderr)
        return 2
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    plot(looks, arguments.output)
    late = looks[looks[:, 0] >= arguments.steps / 2]
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * 100
    print(f"Steps {late[0, 0]:.0f} to {late[-1, 0]:.0f}: {late[:, 1].mean():.0f} MiB, {slope:+.2f} MiB for 100 steps.")
    for name, values in zip(NAMES[1:], late[:, 2:].T, strict=True):
        print(f"{name}: {values[0]:.0f} at the half, {values[-1]:.0f} at the end, {values.max():.0f} at most")
    print(f"Plot written to {arguments.output}")
    return 0


def watch(config: Path, steps: int, folder: Path) -> np.ndarray:
    """Looks at a run of `config`, (looks, 5): the RL step, then as NAMES."""
    options = ["--runs_dir", folder, "--name", "watched", "--max_steps", steps, "--guard_fraction", 0]
    command = [sys.executable, "-m", "train", "--config", config, *options]
    running = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    process = psutil.Process(running.pid)
    metrics = folder / "watched" / "metrics.jsonl"
    looks = []
    while running.poll() is None:
        time.sleep(PERIOD)
        step = last_step(metrics)
        if step is None:
            continue
        try:
            memory = process.memory_info().rss / 2**20
            if not memory:  # it has ended and awaits collection
                break
            looks.append((step, memory, process.num_fds(), process.num_threads(), len(process.children())))
        except psutil.Error:  # it has just ended
            break
    running.wait()
    return np.array(looks, dtype=float)


def last_step(metrics: Path) -> int | None:
    """The last logged RL step, or None before the first."""
    *_, last = [None, *read_metrics(metrics)]
    return last["step"] if last and last["phase"] == "rl" else None


def plot(looks: np.ndarray, path: Path) -> None:
    """One panel for each of NAMES."""
    figure, axes = pyplot.subplots(len(NAMES), 1, figsize=(8, 8), sharex=True, layout="constrained")
    for axis, name, values in zip(axes, NAMES, looks[:, 1:].T, strict=True):
        axis.plot(looks[:, 0], values)
        axis.set_ylabel(name)
        axis.set_ylim(0, max(1, values.max() * 1.1))
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
