"""Measure how the cost of a token grows with its context, and with the number of rows that run beside it.

    python scripts/bench_scaling.py --plot scaling.png
    python scripts/bench_scaling.py --model ~/.cache/rethink/smollm2-135m --contexts 128,512,2048 --rows 1,8,64

A decode step is timed as the difference of two calls that differ only in their number of new tokens, so prefill and
start-up cancel. For the context, each of 16 rows has its own prompt; for the rows, groups of 16 share a prompt, as in
RL. The engine is compared with `generate` and with the model's matrix products alone, whose weights are packed as the
engine packs them.

`--prefill` times the prefill instead, to the first token: a group of 16 against one sample, and 8 problems behind one
system prompt of 1,000 tokens against as many tokens that are not shared. This takes a minute on a CPU:

    python scripts/bench_scaling.py --prefill --model ~/.cache/rethink/smollm2-135m
"""

import json
import sys
from pathlib import Path

import torch

from data.terminal import CommandLine, command, count, quiet_libraries


def numbers(text: str) -> list[int]:
    """`1,8,64` as whole numbers above 0."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise ValueError
    return values


@command
def main() -> int:
    """Parse, measure, draw."""
    parser = CommandLine(__doc__)
    parser.add_argument("--model", default="scratch", help='"scratch" or a folder with a transformers model')
    parser.add_argument("--engines", type=lambda text: text.split(","), default=["engine", "generate"])
    parser.add_argument("--contexts", type=numbers, default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--rows", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--steps", type=count, default=32, help="decode steps to time")
    parser.add_argument("--repeats", type=count, default=3, help="measurements; the best counts")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--prefill", action="store_true", help="measure only what sharing a prompt saves")
    parser.add_argument("--plot", type=Path, help="draw both curves into this file (.png or .svg)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    quiet_libraries()
    from eval.speed.scaling import draw, measure, measure_prefill

    torch.set_num_threads(arguments.threads)
    results = measure_prefill(arguments) if arguments.prefill else measure(arguments)
    if arguments.plot and not arguments.prefill:
        draw(results, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
