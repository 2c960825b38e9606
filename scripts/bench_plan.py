"""Compare the plan with real steps on this machine: peak memory, and tokens a second of rollouts and of training.

    python scripts/bench_plan.py --config configs/quickstart.yaml
    python scripts/bench_plan.py --config configs/smollm2-135m-countdown.yaml --lora_rank 0 --max_completion_length 64

Takes every option of the training config. Two processes run real steps, with random rewards so that every rollout is
trained on: one measures memory, the other time. The second also times the machine itself before and after each phase.
Its processor time is compared with what the plan makes of those times and of the sampled lengths, so other programs on
the machine disturb both sides alike. Everything runs on one thread.
"""

import json
import sys
from pathlib import Path
from typing import Any

from data.terminal import CommandLine, command, count, quiet_libraries


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__, epilog="Every other option is the training config's: --model, --lora_rank, ...")
    parser.add_argument("--config", required=True, help="the training config whose steps are measured")
    parser.add_argument("--steps", type=count, default=3, help="steps to measure")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    own, options = parser.parse_known_args()
    quiet_libraries()
    from eval.speed.planned_steps import bench

    result = bench(["--config", own.config, *options], own.steps)
    print_table(result)
    if own.json:
        own.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def print_table(result: dict[str, Any]) -> None:
    """A line for each figure: predicted, measured, and by how much they differ."""
    print(f"{'':22}{'predicted':>14}{'measured':>14}{'off by':>9}")
    for name, (plan, measurement) in result["memory"].items():
        label = "peak memory" if name == "peak" else f"  in the {name}" if name == "loss" else f"  in {name}"
        print(f"{label:22}{plan / 2**20:10,.0f} MiB{measurement / 2**20:10,.0f} MiB{plan / measurement - 1:9.0%}")
    for name, (plan, measurement) in result["time"].items():
        print(f"{name:22}{plan:8,.1f} tok/s{measurement:8,.1f} tok/s{plan / measurement - 1:9.0%}")


if __name__ == "__main__":
    sys.exit(main())
