"""Test and time the rollout engine on this machine's GPU, and print one table.

    python scripts/gpu_check.py
    python scripts/gpu_check.py --model ~/.cache/rethink/smollm2-135m --prompts 64 --samples 16 --max-rows 1024

Runs `tests/gpu`, then `scripts/bench_rollouts.py` on the GPU in float32 and in bfloat16; other options are passed on to
the benchmark. Exit code 0 if every test passed and every benchmark ran, 1 if not, 2 if there is no CUDA device.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from data.terminal import CommandLine

ROOT = Path(__file__).resolve().parents[1]
DTYPES = ("float32", "bfloat16")
COLUMNS = ("check", "result", "tokens/s", "of limit", "x generate", "GPU peak MiB", "largest gap")


def test_rows(junit: Path) -> list[list[str]]:
    """A row for each test function: how many of its cases passed, failed and were skipped."""
    outcomes: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = case.get("name", "").split("[")[0].removeprefix("test_").replace("_", " ")
        bad = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        outcomes.setdefault(name, Counter())[bad] += 1
    return [[name, ", ".join(f"{count} {what}" for what, count in counts.items())] for name, counts in outcomes.items()]


def bench_rows(dtype: str, results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each engine of one benchmark."""
    rows = []
    for result in results:
        gap, ratio = result["max_logprob_gap"], result["ratio_to_generate"]
        rows.append(
            [
                f"{result['engine']}, {dtype}, {result['rows']} rollouts",
                "ran" if "replayed_share" not in result else f"{result['replayed_share']:.0%} replayed",
                f"{result['tokens_per_second']:.0f}",
                "" if result["share_of_limit"] is None else f"{result['share_of_limit']:.0%}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{result['gpu_peak_memory_bytes'] / 2**20:.0f}",
                "" if gap is None else f"{gap:.1e}",
            ]
        )
    return rows


def print_table(rows: list[list[str]]) -> None:
    """Columns as wide as they need to be."""
    padded = [row + [""] * (len(COLUMNS) - len(row)) for row in [list(COLUMNS), *rows]]
    widths = [max(len(row[column]) for row in padded) for column in range(len(COLUMNS))]
    for row in padded:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> int:
    """Run both, print the table; the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("--model", default="scratch", help='"scratch" or a folder with a transformers model')
    parser.add_argument("--typical", type=int, default=128, help="mean length to aim at with random weights")
    arguments, further = parser.parse_known_args()
    if not torch.cuda.is_available():
        print("gpu-check: no CUDA device on this machine; nothing was tested or timed.")
        return 2
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    typical = ["--typical", str(arguments.typical)] if arguments.model == "scratch" else []
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder, "tests.xml")
        tests = [sys.executable, "-m", "pytest", "tests/gpu", f"--junitxml={junit}"]
        codes = [subprocess.run(tests, cwd=ROOT, env=environment).returncode]
        rows = test_rows(junit) if junit.exists() else [["tests/gpu", f"pytest ended with exit code {codes[0]}"]]
        for dtype in DTYPES:
            path = Path(folder, f"{dtype}.json")
            bench = [sys.executable, "scripts/bench_rollouts.py", "--device", "cuda", "--dtype", dtype]
            bench += ["--model", arguments.model, *typical, *further, "--json", str(path)]
            codes.append(subprocess.run(bench, cwd=ROOT, env=environment).returncode)
            ran = codes[-1] == 0
            rows += bench_rows(dtype, json.loads(path.read_text())) if ran else [[f"benchmark, {dtype}", "failed"]]
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    print_table(rows)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
