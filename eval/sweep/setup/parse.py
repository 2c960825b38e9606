"""Reads training configs as `train` will read them, and asks its gate: a process of its own, for torch and its GPU.

The gate is asked once for all configs that differ in no more than the size of a step, such as a learning rate.

python -m eval.sweep.setup.parse < configs.json
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from trl import GRPOConfig

from data.mixture import draw_problems
from train.config.parse import parse_config, resolved
from train.config.run_config import RunConfig
from train.gate import check_contamination
from train.model.scratch_sizes import check_scratch
from train.run import check_parts

# Numbers that decide what fits, and not only how far a step goes.
SHAPING = (
    "max_completion_length", "thinking_budget", "train_problems", "validation_problems", "split_seed", "lora_rank",
    "num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "beta", "cache_gib",
)  # fmt: skip
_passed: set[str] = set()


def parse(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The facts that a sweep needs of one config, or its `error`."""
    path = folder / "trial.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        run, training = parse_config(["--config", str(path), "--name", "trial", "--runs_dir", str(folder)])
        problems = draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
        pass_gate(run, training)
    except ValueError as error:
        return {"error": " ".join(str(error).replace(f"{path}: ", "").split())}
    contents = "\n".join(sorted(problem.canonical for problem in problems))
    return {
        "error": "",
        "tasks": [part.task for part in run.parts],
        "problems": len(problems),
        "validation": hashlib.sha256(contents.encode()).hexdigest(),
        "strategy": str(training.eval_strategy.value),
        "eval_steps": training.eval_steps,
        "max_steps": training.max_steps,
        "use_cpu": training.use_cpu,
        "resolved": json.dumps(identity(run, training), sort_keys=True, default=str),
    }


def identity(run: RunConfig, training: GRPOConfig) -> dict[str, Any]:
    """The identity of a run: each value in one form, without values that nothing would read."""
    values = resolved(run, training) | {
        "tasks": run.parts,
        "rewards": sorted(map(repr, run.reward_terms)),
        "cold_start_tasks": run.demonstration_parts,
        "cold_start_data": run.trace_settings,
        "save_at": sorted(set(run.save_at)),
        "min_p": training.min_p or 0,
        "epsilon_high": training.epsilon if training.epsilon_high is None else training.epsilon_high,
        "lr_scheduler_kwargs": training.lr_scheduler_kwargs or None,
        "reward_weights": training.reward_weights or [1],
        "scratch": check_scratch(run.scratch) if run.model == "scratch" else None,  # type: ignore[arg-type]
    }
    idle = [
        *(("lora_alpha",) if not run.lora_rank else ()),
        *(("screening_samples", "oversample") if not run.dynamic_sampling else ()),
        *((name for name in values if name.startswith("cold_start_")) if not run.cold_start_steps else ()),
    ]
    return {name: _one_form(value) for name, value in values.items() if name not in idle}


def _one_form(value: Any) -> Any:
    """A value with whole numbers as such: 1.0 is 1."""
    if isinstance(value, dict):
        return {name: _one_form(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_one_form(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def pass_gate(run: RunConfig, training: GRPOConfig) -> None:
    """Ask the gate of a run that starts. Raises ValueError in one line."""
    values = resolved(run, training).items()
    shape = {k: v for k, v in values if isinstance(v, bool) or not isinstance(v, int | float) or k in SHAPING}
    key = json.dumps(shape, sort_keys=True, default=str)
    if key not in _passed:
        check_parts(run, training)
        if run.contamination == "refuse":
            check_contamination(run, training.seed)
        _passed.add(key)


def main() -> int:
    """Read a list of configs, write what they are."""
    configs = json.load(sys.stdin)
    # What libraries print must not stand in the answer.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        replies = [parse(config, Path(folder)) for config in configs]
    json.dump({"gpus": torch.cuda.device_count(), "parsed": replies}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
