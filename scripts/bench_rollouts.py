"""Compare the speed of every rollout engine on this machine with each other and with the matrix-product limit.

    python scripts/bench_rollouts.py --model scratch --prompts 32 --samples 8 --max-new-tokens 256 --typical 128
    python scripts/bench_rollouts.py --model smollm2-135m --json bench.json

Every engine completes the same prompts at temperature 1 over the whole vocabulary. A model with a chat template gets
Countdown problems and ends its completions itself, so lengths spread naturally; with `--random-prompts` it gets random
tokens, which it answers at length. For a model with random weights, `--typical` sets the mean length by the number of
stop tokens.

The limit is the time of the model's matrix products alone, at the engine's mean batch. The packed limit uses weights
that are laid out once per call, as the engine does on a CPU (`train/rollout/dense/packed.py`). Both are measured again
after every engine, and the best counts. On a CPU the share of the limit is also given by processor time, which other
work on the machine does not change; a message says where there was such work.

transformers' continuous batching runs last, because it changes the model. vLLM, if it is installed, runs in processes
of its own that end before the next engine starts: compiled, warmed up, with the same threads, prompts and stop tokens.
Its peak memory is the sum over its processes. That of every other engine is the peak of this process so far, or of the
device on a GPU.
"""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from data.terminal import CommandLine, command, quiet_libraries

ENGINES = ("engine", "generate", "vllm", "continuous_batching")
COLUMNS = (
    "engine", "rows", "tokens", "tokens_per_second", "share_of_limit", "share_by_processor", "share_of_packed",
    "ratio_to_generate", "ratio_to_vllm", "max_logprob_gap", "peak_memory_gib",
)  # fmt: skip


def check(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that cannot be measured."""
    for name in arguments.engines.split(","):
        if name not in ENGINES:
            raise ValueError(f"--engines has {name!r}; expected some of: {', '.join(ENGINES)}.")
    for name in ("prompts", "samples", "shortest", "longest", "max_new_tokens", "max_rows", "threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; expected at least 1.")


def print_table(results: list[dict[str, Any]]) -> None:
    """One line an engine."""
    print(" ".join(f"{column:>19}" for column in COLUMNS))
    for row in results:
        row = row | {"peak_memory_gib": row.get("gpu_peak_memory_bytes", row["peak_memory_bytes"]) / 2**30}
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in (row[c] for c in COLUMNS)]
        print(" ".join(f"{cell:>19}" for cell in cells))


@command
def main() -> int:
    """Parse, measure, print; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("--model", default="scratch", help='"scratch", smollm2-135m, a folder or a hub id')
    parser.add_argument(
        "--engines",
        default="engine,generate,vllm,continuous_batching"
        if importlib.util.find_spec("vllm")
        else "engine,generate,continuous_batching",
        help="comma-separated; an engine that does not run here is skipped with a message",
    )
    parser.add_argument("--prompts", type=int, default=16, help="number of prompts")
    parser.add_argument("--samples", type=int, default=8, help="completions of each")
    parser.add_argument("--random-prompts", action="store_true", help="use random tokens as prompts for every model")
    parser.add_argument("--shortest", type=int, default=40, help="tokens of the shortest random prompt")
    parser.add_argument("--longest", type=int, default=120, help="tokens of the longest random prompt")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="longest completion")
    parser.add_argument("--typical", type=int, default=0, help="mean length to aim at with random weights")
    parser.add_argument("--max-rows", type=int, default=256, help="rollouts at once")
    parser.add_argument("--cache-gib", type=float, help="limit of the engine's memory (default: half of what is free)")
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    check(arguments)
    quiet_libraries()
    from eval.speed.engines import run

    print_table(run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
