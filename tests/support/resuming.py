"""Running `-m train` and killing it, for the tests of resuming: what stays must be what an unbroken run leaves."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import torch
import yaml
from safetensors.torch import load_file

from data.problem import Problem
from train.__main__ import main
from train.lifecycle.callbacks import MetricsFile
from train.rewards.correctness import CorrectnessReward
from train.rewards.rollout_log import RolloutRow

ROOT = Path(__file__).parents[2]
# Two problems a step and eight in all, so an epoch is four steps.
SMALL: dict[str, Any] = {
    "scratch": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "tasks": {"arithmetic": {}, "countdown": {}},
    "train_problems": 8,
    "validation_problems": 4,
    "cold_start_steps": 4,
    "cold_start_batch_size": 4,
    "learning_rate": 0.01,
    "max_steps": 10,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 12,
    "save_steps": 3,
    "eval_strategy": "steps",
    "eval_steps": 4,
    "use_cpu": True,
    "report_to": "none",
}
# Of four samples a group, two decide about it; rewards are thirds, so one group in three is replaced.
DYNAMIC: dict[str, Any] = {"dynamic_sampling": True, "screening_samples": 2}
TIMES = ("seconds", "step_time", "runtime", "per_second")


def reward_anything() -> None:
    """Reward what the tiny model can get: it is never right, and without a reward nothing would be trained."""
    judge = CorrectnessReward.judge

    def anything(self: CorrectnessReward, problems: list[Problem], completions: list[list[int]]) -> list[RolloutRow]:
        sums = [sum(ids) % 3 for ids in completions]
        rows = judge(self, problems, completions)
        return [row | {"reward": s, "correct": s == 2} for row, s in zip(rows, sums, strict=True)]

    CorrectnessReward.judge = anything  # type: ignore[method-assign]


def write_config(folder: Path, **values: Any) -> Path:
    """A config file of SMALL and `values`, whose runs go to `folder`."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"runs_dir": str(folder)} | values))
    return path


def launch(config: Path, *arguments: str) -> int:
    """Run `-m train` in this process; returns the exit code."""
    sys.argv = ["train", "--config", str(config), *arguments]
    return main()


def in_child(work: Callable[[], int]) -> int:
    """Run `work` in a forked process; returns its exit code, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        code = 70
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    """What a kill by the system's own hand does to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_all_at(step: int) -> None:
    """Have the first process kill the launcher and itself once RL step `step` is logged."""
    on_log = MetricsFile.on_log

    def log_and_kill(self: MetricsFile, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
        on_log(self, args, state, control, logs)
        if state.is_world_process_zero and self.phase == "rl" and state.global_step == step:
            os.kill(os.getppid(), signal.SIGKILL)
            die()

    MetricsFile.on_log = log_and_kill  # type: ignore[method-assign]


def what_was_left(run: Path, last: int) -> dict[str, Any]:
    """All that must not depend on whether the run was broken off: rollouts, metrics, weights, and what it remembers."""
    rows = ds.dataset(run / "rollouts.parquet").to_table().to_pylist()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    checkpoint = run / "checkpoints" / f"checkpoint-{last}"
    moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    tensors = load_file(next(checkpoint.glob("*model.safetensors")))
    tensors |= {f"{i}.{name}": value for i, kept in moments.items() for name, value in kept.items()}
    choosing = {}
    for progress in checkpoint.glob("progress-*.pt"):
        saved = torch.load(progress, weights_only=True)
        choosing[progress.name] = saved["dynamic_sampling"]
        lengths = saved["lengths"]
        lengths["last"] = torch.tensor(lengths["last"] or 0.0)  # None where the engine did not sample
        tensors |= {f"{progress.name}.{name}": value for name, value in lengths.items()}
    return {
        "rollouts": sorted(json.dumps(row, sort_keys=True) for row in rows),
        "metrics": [{k: v for k, v in line.items() if not any(time in k for time in TIMES)} for line in lines],
        "tensors": tensors,
        "choosing": choosing,
    }


def assert_same(broken: dict[str, Any], whole: dict[str, Any]) -> None:
    """Equal to the last bit."""
    assert broken["rollouts"] == whole["rollouts"]
    assert broken["choosing"] == whole["choosing"]
    assert len(broken["metrics"]) == len(whole["metrics"])
    for ours, theirs in zip(broken["metrics"], whole["metrics"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            both_nan = isinstance(value, float) and math.isnan(value) and math.isnan(ours[name])
            assert both_nan or ours[name] == value, (name, ours, theirs)
    assert broken["tensors"].keys() == whole["tensors"].keys()
    for name, value in whole["tensors"].items():
        assert torch.equal(broken["tensors"][name], value), name


if __name__ == "__main__":  # as the launcher of several processes starts it
    reward_anything()
    if step := os.environ.get("RETHINK_TEST_KILLED_AT"):
        kill_all_at(int(step))
    sys.exit(main())
