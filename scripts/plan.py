"""Predict whether a run will fit, with what batch, how fast it is and how long it takes, without loading any weights.

    python scripts/plan.py configs/quickstart.yaml
    python scripts/plan.py configs/recipes/qwen2.5-0.5b-math.yaml --gpu H100
    python scripts/plan.py configs/recipes/qwen2.5-1.5b-math.yaml --gpu 24GB --gpus 8 --mean_tokens 400 --lora_rank 16

Takes every option of the training config. Bytes, products and memory accesses are counted by running the model's code
on tensors without data. A GPU's speed comes from its data sheet; this machine's CPU is measured for a few seconds. Each
of the `--gpus` processes does what the config says; the last table divides the same step among more of them.

Exit codes: 0 it fits, 1 it does not fit as it is, 2 refused.
"""

import sys

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from train.plan.devices import BY_SIZE, GPUS


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(
        __doc__,
        epilog="Every other option is the training config's: --lora_rank, --max_completion_length, ...",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=user_path, help="a training config")
    parser.add_argument(
        "--gpu", default="cpu", help=f"cpu (this machine's, the default), {', '.join(GPUS)}, or {', '.join(BY_SIZE)}"
    )
    parser.add_argument("--gpus", type=int, default=1, help="processes, each with its own GPU")
    parser.add_argument("--mean_tokens", type=float, help="mean length of completions (default: half of the longest)")
    parser.add_argument("--prompt_tokens", type=int, help="mean length of prompts (default: that of the problems)")
    arguments, options = parser.parse_known_args()
    quiet_libraries()
    from train.plan.make_plan import make_plan

    text, fits = make_plan(
        arguments.config,
        options,
        gpu=arguments.gpu,
        gpus=arguments.gpus,
        mean=arguments.mean_tokens,
        prompt=arguments.prompt_tokens,
    )
    print(text)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
