"""Check and time the whole decode path on a GPU, in one call under ten minutes, on a bare machine.

    python scripts/gpu_step.py --json gpu_step.json
    TRITON_INTERPRET=1 python scripts/gpu_step.py --device cpu --json /tmp/dry.json     (what a CPU can exercise)

It needs torch 2.11 or newer, triton and transformers, and this repository; weights are random, from configurations.
LoRA alone needs peft beside: `pip install --no-deps --target carried peft accelerate psutil`, then PYTHONPATH=carried:.
Without peft, only its cells are left out, and the table says so. vLLM is timed beside our calls where it is installed.
After each part the file is written anew, so a call that is cut off has shown what it had. Parts, most telling first:
`card` (copy bandwidth, product rate), `kernels` (each against float64, outputs poisoned), `graphs` (replays equal eager
steps, token by token), `steps` (medians by model, rows, context, weights and path) between which `calls` come (whole
calls). The exit code is 0 if every kernel and graph was right, 1 if one was not, 2 without a device.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_steps.calls import call, calls, vllm_beside
from gpu_steps.clock import BYTES_PER_SECOND, Clock, card
from gpu_steps.models import LastModel, build, left_out, precision
from gpu_steps.steps import cases, graph, step
from gpu_steps.table import call_table, step_table

from train.rollout.triton_kernels import runnable

BEFORE_CALLS = 10  # steps that are timed before the first whole call: the most telling models, rows and paths
LEAST = 30.0  # seconds that must be left for another case


class Report:
    """The measurements, written to `path` after each part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, Any] = {"steps": [], "calls": []}

    def save(self, part: str, value: Any) -> None:
        """Note `value`; those of steps and calls are added to the list of them."""
        if part in ("steps", "calls"):
            self.parts[part].append(value)
        else:
            self.parts[part] = value
        self.path.write_text(json.dumps(self.parts, indent=1))
        print(f"{part}: {value}", flush=True)

    @property
    def right(self) -> bool:
        """Whether every kernel and every graph was right."""
        return all(each["right"] for each in self.parts["kernels"]) and all(
            each["equal"] for each in self.parts["graphs"].values()
        )


def tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `work`, or its error: one case that fails must not end the others."""
    try:
        return work()
    except Exception as error:  # out of memory, a kernel that does not compile
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {"error": repr(error)[:300]}


def check(report: Report, clock: Clock) -> None:
    """Kernels against float64, and graphs against eager steps."""
    from gpu_steps.kernels import check_kernels  # imports triton, which the refusals of `main` do without

    report.save("kernels", check_kernels(clock.device))
    name = "smollm2-135m" if clock.on_card else "tiny"
    graphs = {}
    for weights, path in (("bf16", "fused"), ("autocast", "fused"), ("bf16", "compiled")):
        dtype = weights if clock.on_card else "float32"
        if clock.on_card or (weights, path) == ("bf16", "fused"):
            with precision(dtype, clock.device):
                graphs[f"{dtype}, {path}"] = graph(build(name, dtype, clock.device), path, 24 if clock.on_card else 3)
    report.save("graphs", graphs)


def measure(report: Report, clock: Clock) -> None:
    """Steps, and whole calls after the first of them, as long as there is time."""
    bandwidth = report.parts["card"][BYTES_PER_SECOND]
    model_of = LastModel(clock.device)
    missing = left_out()
    report.save("left_out", missing)
    for number, (name, rows, context, weights, path) in enumerate(cases(clock.on_card)):
        if number == BEFORE_CALLS:
            model_of.drop()
            measure_calls(report, clock)
        if clock.left < LEAST:
            return
        if weights in missing:
            continue
        facts = {"model": name, "rows": rows, "context": context, "weights": weights, "path": path}
        times = tried(partial(step, model_of, name, clock, rows, context, weights, path, bandwidth))
        report.save("steps", facts | times)
    if not report.parts["calls"]:
        measure_calls(report, clock)


def measure_calls(report: Report, clock: Clock) -> None:
    """Whole calls; the first of them also as they were before, and by vLLM."""
    for number, (name, weights, prompts, samples, tokens) in enumerate(calls(clock.on_card)):
        for path in ("fused", "as it was") if number == 0 else ("fused",):
            if clock.left < 2 * LEAST:
                return
            facts = {"model": name, "weights": weights, "path": path}
            times = tried(partial(call, clock, name, weights, prompts, samples, tokens, path))
            report.save("calls", facts | times)
        if number == 0 and clock.on_card and clock.left > 4 * LEAST:
            beside = vllm_beside(name, prompts, samples, tokens, clock.left / 2)
            report.save("calls", {"model": name, "path": "vLLM", **beside})


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu is a dry run (default: cuda)")
    parser.add_argument("--json", type=Path, default=Path("gpu_step.json"), help="every figure (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=9.3, help="no case is started after these (default: 9.3)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu-step: no CUDA device on this machine; `--device cpu` with TRITON_INTERPRET=1 is a dry run.")
        return 2
    if not runnable(device):
        print("gpu-step: the Triton kernels do not run here; install triton, or set TRITON_INTERPRET=1 on a CPU.")
        return 2
    if not arguments.json.parent.is_dir():
        print(f"gpu-step: --json is {arguments.json}, but there is no folder {arguments.json.parent}; make it first.")
        return 2
    clock, report = Clock(device, 60 * arguments.minutes), Report(arguments.json)
    if not clock.on_card:
        from train.rollout.paged.compiled import layers as compiled_layers

        compiled_layers.BACKEND = "eager"  # a dry run need not wait for a compiler
    report.save("card", card(clock))
    check(report, clock)
    measure(report, clock)
    print(step_table(report.parts["steps"], report.parts["left_out"]))
    print(call_table(report.parts["calls"]))
    return 0 if report.right else 1


if __name__ == "__main__":
    sys.exit(main())
