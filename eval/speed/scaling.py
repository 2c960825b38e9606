"""How the cost of a token grows with its context and with the rows beside it, for scripts/bench_scaling.py."""

import argparse
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

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


def least_seconds(backend: Any, prompts: list[list[int]], samples: int, tokens: int, repeats: int) -> float:
    """Seconds of a call with so many new tokens, the best of `repeats`."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        backend.generate(prompts, samples, Sampling(max_new_tokens=tokens, stop_ids=()))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def seconds_per_step(backend: Any, prompts: list[list[int]], samples: int, steps: int, repeats: int) -> float:
    """Seconds of one decode step of all rows: the best of `repeats` calls with the steps, less the best without."""
    least_seconds(backend, prompts, samples, SHORT, 1)  # warms up
    # The best difference would be that of a slow call without the steps: below zero, where prefill is most of it.
    long, short = (least_seconds(backend, prompts, samples, tokens, repeats) for tokens in (SHORT + steps, SHORT))
    return (long - short) / steps


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
            for side in sides:
                least_seconds(backends[name], *side, 1, 1)  # warms up
            shared, against = (least_seconds(backends[name], *side, 1, arguments.repeats) for side in sides)
            ratio = shared / against
            results.append({"engine": name, "case": case, "seconds": shared, "against": against, "ratio": ratio})
            print(f"{name:10} {case}: {shared:.3f} s : {against:.3f} s = {ratio:.2f}", flush=True)
    return results


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Two panels, logarithmic both ways."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
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
