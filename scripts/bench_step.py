"""Compare one whole RL step - rollouts, rewards, loss, update - with a step of TRL's stock GRPOTrainer.

    python scripts/bench_step.py --config configs/quickstart.yaml --model runs/quickstart/checkpoints/cold-start
    python scripts/bench_step.py --config configs/smollm2-135m-countdown.yaml --steps 1 --json step.json

Takes every option of the training config. Both trainers start from the same weights and see the same problems in the
same order. Stock TRL samples with its own `generate`, which is timed; it then gets our rollouts, so that both losses
see the same tokens and their gradients can be compared. The learning rate is 0, so every step starts from the same
weights. The first step is a warm-up and does not count.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from data.terminal import CommandLine, command, count, quiet_libraries


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(
        __doc__, epilog="Every other option is the training config's: --model, --per_device_train_batch_size, ..."
    )
    parser.add_argument("--config", required=True, help="the training config whose step is measured")
    parser.add_argument("--steps", type=count, default=3, help="steps to measure with each trainer")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    own, options = parser.parse_known_args()
    quiet_libraries()
    from eval.speed.steps_beside_trl import bench

    torch.set_num_threads(own.threads)
    result = bench(["--config", own.config, *options], own.steps)
    print_table(result)
    if own.json:
        own.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def print_table(result: dict[str, Any]) -> None:
    """A line a phase."""
    print(f"{result['rows']} rollouts a step, median of {result['steps']} steps, {result['threads']} threads")
    print(f"{'':10}{'stock TRL':>12}{'Rethink':>12}{'ratio':>9}")
    print(f"{'tokens':10}{result['tokens']['stock']:12,.0f}{result['tokens']['ours']:12,.0f}")
    for phase in result["seconds"]["ours"]:
        stock, ours = result["seconds"]["stock"][phase], result["seconds"]["ours"][phase]
        print(f"{phase:10}{stock:10.2f} s{ours:10.2f} s{stock / max(ours, 1e-9):8.1f}x")
    if result["max_gradient_gap"] is None:
        print("every gradient was 0, as no group had both right and wrong answers: give a trained --model")
    else:
        print(f"largest difference of a gradient {result['max_gradient_gap']:.1e}, of {result['largest_gradient']:.1e}")


if __name__ == "__main__":
    sys.exit(main())
