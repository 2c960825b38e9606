"""The speed of every rollout engine on the same prompts, beside each other and the limit, for bench_rollouts.py."""

import argparse
import json
import sys
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from eval.speed.matrix_products import Products
from eval.speed.model_and_prompts import load_model, load_tokenizer, problem_prompts, random_prompts
from eval.speed.other_engines import ContinuousBatching, VLLMLaunch, measure_vllm
from eval.speed.timed_call import measure
from train.model.prompts import stop_ids
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

BUSY = 0.2  # processors that other work uses on average; beyond that, do not trust figures by the clock


def prompts_and_stops(model: Any, arguments: argparse.Namespace) -> tuple[list[list[int]], tuple[int, ...]]:
    """The prompts to complete, and the tokens that end a completion."""
    vocabulary = model.config.vocab_size
    tokenizer = load_tokenizer(arguments.model)
    stops: tuple[int, ...] = (model.config.eos_token_id,)
    if tokenizer is None or arguments.random_prompts:
        prompts = random_prompts(arguments.prompts, arguments.shortest, arguments.longest, vocabulary)
    else:
        prompts = problem_prompts(arguments.prompts, tokenizer)
        stops = stop_ids(model, tokenizer)
    if arguments.typical:
        stops = tuple(range(3, 3 + max(1, vocabulary // arguments.typical)))
    return prompts, stops


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the engines in `--engines`, and relate them to the limits, to `generate` and to vLLM."""
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    model = load_model(arguments.model).to(device, getattr(torch, arguments.dtype))
    prompts, stops = prompts_and_stops(model, arguments)
    sampling = Sampling(max_new_tokens=arguments.max_new_tokens, stop_ids=stops, temperature=1.0)
    engine = RolloutEngine(model, cache_gib=arguments.cache_gib, max_rows=arguments.max_rows)
    backends: dict[str, Any] = {
        "engine": engine,
        "generate": GenerateBackend(model, 0),
        "continuous_batching": ContinuousBatching(model, arguments.cache_gib),
    }
    launch = VLLMLaunch(arguments.threads, arguments.cache_gib, arguments.max_rows)
    results: list[dict[str, Any]] = []
    products: Products | None = None
    for name in arguments.engines.split(","):  # the engine first: the peak of resident memory never falls again
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            if name == "vllm":
                row, rollouts = measure_vllm(arguments.model, model, prompts, arguments.samples, sampling, launch)
            else:
                row, rollouts = measure(name, backends[name], prompts, arguments.samples, sampling)
        except Exception as error:
            if name == "engine":
                raise
            print(f"{name} does not run here: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        if device.type == "cuda":
            row |= {
                "device": torch.cuda.get_device_name(device),
                "gpu_peak_memory_bytes": torch.cuda.max_memory_allocated(device),  # of this process
            }
            engine.release()  # so that the next engine's peak is its own
        if name == "engine":
            row |= statistics(engine)
            products = Products(round(row["mean_batch"]))
        has_logprobs = rollouts[0].logprobs is not None
        row["max_logprob_gap"] = compare(prompts, rollouts, forward_logprobs(model)).largest if has_logprobs else None
        results.append(row)
        if products is not None:
            products.take(model)
            next(row for row in results if row["engine"] == "engine").update(products.limits())
        relate(results)
        if arguments.json:  # a benchmark of many minutes that is cut off leaves what it has measured
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
        report(row)
    return results


def statistics(engine: RolloutEngine) -> dict[str, float]:
    """The engine's mean batch, its preemptions, and the share of its steps that were replayed CUDA graphs."""
    stats = engine.stats
    return {
        "mean_batch": stats.decode_rows / stats.steps,
        "preemptions": stats.preemptions,
        "replayed_share": stats.replayed_steps / stats.steps,
    }


def report(row: dict[str, Any]) -> None:
    """Print an engine's speed, and whether other work on the machine has spoilt it."""
    if row["busy_processors"] > BUSY:
        print(
            f"{row['engine']}: other work kept {row['busy_processors']:.1f} of {psutil.cpu_count()} processors busy, "
            "so tokens a second are too few; trust the shares by processor time, or measure again.",
            file=sys.stderr,
        )
    print(f"{row['engine']}: {row['tokens_per_second']:,.0f} tokens a second", file=sys.stderr)


def relate(results: list[dict[str, Any]]) -> None:
    """Add to each row its share of the limits, and its ratio to the engines that it is compared with."""
    speed = {row["engine"]: row["tokens_per_second"] for row in results}
    limits = next((row for row in results if "limit" in row), None)
    for row in results:
        row["share_of_limit"] = row["tokens_per_second"] / limits["limit"] if limits else None
        processor = limits.get("processor_limit") if limits else None
        used = row.get("processor_seconds")
        row["share_by_processor"] = row["tokens"] / used / processor if used and processor else None
        packed = limits["packed_limit"] if limits else None
        row["share_of_packed"] = row["tokens_per_second"] / packed if packed else None
        row["ratio_to_generate"] = row["tokens_per_second"] / speed["generate"] if "generate" in speed else None
        row["ratio_to_vllm"] = row["tokens_per_second"] / speed["vllm"] if "vllm" in speed else None
