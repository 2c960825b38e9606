"""Reads training configs as `train` will read them: a process of its own, since that starts torch and its GPU.

python -m eval.sweep.setup.parse < configs.json
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from data.mixture import draw_problems
from train.config.parse import parse_config


def parse(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a sweep must know of one config, or its `error`."""
    path = folder / "trial.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        run, training = parse_config(["--config", str(path), "--name", "trial", "--runs_dir", str(folder)])
        problems = draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
    except ValueError as error:
        return {"error": " ".join(str(error).split())}
    told = "\n".join(sorted(problem.canonical for problem in problems))
    return {
        "error": "",
        "tasks": [part.task for part in run.parts],
        "problems": len(problems),
        "validation": hashlib.sha256(told.encode()).hexdigest(),
        "strategy": str(training.eval_strategy.value),
        "eval_steps": training.eval_steps,
        "max_steps": training.max_steps,
        "use_cpu": training.use_cpu,
    }


def main() -> int:
    """Read a list of configs, write what they are."""
    configs = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        parsed = [parse(config, Path(folder)) for config in configs]
    json.dump({"gpus": torch.cuda.device_count(), "parsed": parsed}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
