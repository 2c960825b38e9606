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

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from eval.speed.matrix_products import limit_tokens_per_second
from eval.speed.model_and_prompts import load_model, random_prompts
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.dense.packed import packed_linears
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling

SHORT = 4  # new tokens of the call that is subtracted
ROWS_AGAINST_CONTEXT = 16
CONTEXT_AGAINST_ROWS = 128
GROUP = 16
PREFILL_PROMPT, SYSTEM_PROMPT = 256, 1_000  # tokens
PROBLEMS, PROBLEM_TOKENS = 8, 32


def seconds_per_step(backend: Any, prompts: list[list[int]], samples: int, steps: int, repeats: int) -> float:
    """Seconds of one decode step of all rows: the best of `repeats` calls with the steps, less the best without."""

    def seconds(tokens: int) -> float:
        start = time.perf_counter()
        backend.generate(prompts, samples, Sampling(max_new_tokens=tokens, stop_ids=()))
        return time.perf_counter() - start

    seconds(SHORT)
    # The best difference would be that of a slow call without the steps: below zero, where prefill is most of it.
    return (min(seconds(SHORT + steps) for _ in range(repeats)) - min(seconds(SHORT) for _ in range(repeats))) / steps


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each engine and each point of both axes."""
    model = load_model(arguments.model)
    # Every prompt is prefilled in one pass, so that no decode step of the two calls runs beside a prefill.
    most = max(ROWS_AGAINST_CONTEXT * max(arguments.contexts), CONTEXT_AGAINST_ROWS * max(arguments.rows))
    backends = {
        "engine": RolloutEngine(model, max_rows=max(arguments.rows), chunk_tokens=most),
        "generate": GenerateBackend(model, 0),
    }
    vocabulary = model.config.vocab_size
    points = [("context", context, ROWS_AGAINST_CONTEXT, context, 1) for context in arguments.contexts]
    for rows in arguments.rows:
        samples = min(GROUP, rows)
        points.append(("rows", rows, -(-rows // samples), CONTEXT_AGAINST_ROWS, samples))
    results = []
    for axis, x, count, context, samples in points:
        prompts = random_prompts(count, context, context, vocabulary)
        rows = count * samples
        for name in arguments.engines:
            per_step = seconds_per_step(backends[name], prompts, samples, arguments.steps, arguments.repeats)
            row = {"engine": name, "axis": axis, "x": x, "rows": rows, "microseconds_per_token": 1e6 * per_step / rows}
            with packed_linears(model):
                row["limit"] = 1e6 / limit_tokens_per_second(model, rows)
            results.append(row)
            print(
                f"{name:10} {axis:8}{x:6}{row['microseconds_per_token']:12.1f} us a token, products alone "
                f"{row['limit']:10.1f}",
                flush=True,
            )
    return results


def seconds_to_first_token(backend: Any, prompts: list[list[int]], samples: int, repeats: int) -> float:
    """Seconds of a call that draws one token a row: the best of `repeats`, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        backend.generate(prompts, samples, Sampling(max_new_tokens=1, stop_ids=()))
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def measure_prefill(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """For each engine, what a shared prompt costs beside one that is not: seconds both ways and their ratio."""
    model = load_model(arguments.model)
    backends = {"engine": RolloutEngine(model), "generate": GenerateBackend(model, 0)}
    vocabulary = model.config.vocab_size
    (prompt,) = random_prompts(1, PREFILL_PROMPT, PREFILL_PROMPT, vocabulary)
    (system,) = random_prompts(1, SYSTEM_PROMPT, SYSTEM_PROMPT, vocabulary)
    prompts = random_prompts(PROBLEMS, PROBLEM_TOKENS, PROBLEM_TOKENS, vocabulary)
    apart = random_prompts(PROBLEMS, SYSTEM_PROMPT, SYSTEM_PROMPT, vocabulary)
    cases = {
        f"a group of {GROUP} : one sample, prompt of {PREFILL_PROMPT}": (([prompt], GROUP), ([prompt], 1)),
        f"{PROBLEMS} problems behind one system prompt of {SYSTEM_PROMPT} : behind {PROBLEMS} others": (
            ([system + problem for problem in prompts], 1),
            ([other + problem for other, problem in zip(apart, prompts, strict=True)], 1),
        ),
    }
    results = []
    for case, sides in cases.items():
        for name in arguments.engines:
            shared, against = (seconds_to_first_token(backends[name], *side, arguments.repeats) for side in sides)
            ratio = shared / against
            results.append({"engine": name, "case": case, "seconds": shared, "against": against, "ratio": ratio})
            print(f"{name:10} {case}: {shared:.3f} s : {against:.3f} s = {ratio:.2f}", flush=True)
    return results


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Two panels, logarithmic both ways."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    titles = {
        "context": f"against context ({ROWS_AGAINST_CONTEXT} rows)",
        "rows": f"against rows (shared context of {CONTEXT_AGAINST_ROWS})",
    }
    for panel, (axis, title) in zip(panels, titles.items(), strict=True):
        here = [row for row in results if row["axis"] == axis]
        for name in dict.fromkeys(row["engine"] for row in here):
            own = [row for row in here if row["engine"] == name]
            panel.plot([row["x"] for row in own], [row["microseconds_per_token"] for row in own], "o-", label=name)
        limits = {row["x"]: row["limit"] for row in here}
        panel.plot(list(limits), list(limits.values()), "k:", label="matrix products alone")
        panel.set(title=title, xscale="log", yscale="log", xlabel={"context": "tokens of context"}.get(axis, axis))
        panel.set_xticks(list(limits), [str(x) for x in limits], minor=False)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("microseconds a token")
    panels[1].legend(frameon=False)
    figure.savefig(path, dpi=110)


def numbers(text: str) -> list[int]:
    """`1,8,64` as whole numbers above 0."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise ValueError
    return values


def main() -> int:
    """Parse, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="scratch", help='"scratch" or a folder with a transformers model')
    parser.add_argument("--engines", type=lambda text: text.split(","), default=["engine", "generate"])
    parser.add_argument("--contexts", type=numbers, default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--rows", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--steps", type=int, default=32, help="decode steps to time (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="measurements, of which the best counts (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--prefill", action="store_true", help="measure only what sharing a prompt saves")
    parser.add_argument("--plot", type=Path, help="draw both curves into this file (.png or .svg)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = measure_prefill(arguments) if arguments.prefill else measure(arguments)
    if arguments.plot and not arguments.prefill:
        draw(results, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
