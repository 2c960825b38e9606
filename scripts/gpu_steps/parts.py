"""The parts of the call one after another, as long as there is time."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_steps.calls import call, calls, vllm_beside
from gpu_steps.clock import BYTES_PER_SECOND, Clock
from gpu_steps.models import LastModel, build, left_out, precision
from gpu_steps.steps import cases, graph, prefill_graph, step

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
    from gpu_steps.kernels import check_kernels  # imports triton, which the tests of the rest do without

    report.save("kernels", check_kernels(clock.device))
    name = "smollm2-135m" if clock.on_card else "tiny"
    graphs = {}
    for weights, path in (("bf16", "fused"), ("autocast", "fused"), ("bf16", "compiled")):
        dtype = weights if clock.on_card else "float32"
        if clock.on_card or (weights, path) == ("bf16", "fused"):
            with precision(dtype, clock.device):
                model = build(name, dtype, clock.device)
                graphs[f"{dtype}, {path}"] = graph(model, path, 24 if clock.on_card else 3)
                if path == "fused":
                    prefills = prefill_graph(model, path, 1500 if clock.on_card else 20)
                    graphs[f"{dtype}, {path}, prefill"] = prefills
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
        if clock.remaining < LEAST:
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
            if clock.remaining < 2 * LEAST:
                return
            facts = {"model": name, "weights": weights, "path": path}
            times = tried(partial(call, clock, name, weights, prompts, samples, tokens, path))
            report.save("calls", facts | times)
        if number == 0 and clock.on_card and clock.remaining > 4 * LEAST:
            beside = vllm_beside(name, prompts, samples, tokens, clock.remaining / 2)
            report.save("calls", {"model": name, "path": "vLLM", **beside})
