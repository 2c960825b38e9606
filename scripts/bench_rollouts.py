"""Rollout speed of every engine at hand, side by side, against the machine's matrix-product limit.

    python scripts/bench_rollouts.py --model scratch --prompts 32 --samples 8 --max-new-tokens 256 --typical 128
    python scripts/bench_rollouts.py --model smollm2-135m --json bench.json

Every engine draws completions of the same prompts at temperature 1 over the whole vocabulary. A model with a chat
template is asked Countdown problems and ends its completions itself, which gives the natural spread of lengths;
`--random-prompts` asks tokens at random, which it answers at length. A model with random weights is told how many of
its tokens are stop tokens (`--typical`). The limit is the time of the model's matrix products alone, at the engine's
mean running batch, as torch multiplies by the module's weights; the packed limit is that of weights laid out once for a
call, as the engine does on a CPU (`train/rollout/dense/packed.py`). Both are taken again after every engine, and the
best counts; on a CPU the share of the limit is given by processor time too, which other work on the machine does not
change, and where there was such work, it is said. transformers' continuous batching comes last, as it changes the
model. vLLM, where it is installed, runs in processes of its own, which end before the next engine starts: compiled,
warmed up, with as many threads, given the same prompts and stop tokens. Its peak memory is the sum over its processes;
every other row's is that of this process so far, or on a GPU that of the device.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from data.mixture import draw_problems, load_mixture
from train.model.loading import ModelError, resolve
from train.model.prompts import messages, prompt_ids, stop_ids
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.backends.vllm import VLLMBackend
from train.rollout.dense.packed import packed_bytes, packed_linears
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

BUSY = 0.2  # processors of other work, on average over a call, from which figures by the clock are not to be trusted
ENGINES = ("engine", "generate", "vllm", "continuous_batching")
COLUMNS = (
    "engine",
    "rows",
    "tokens",
    "tokens_per_second",
    "share_of_limit",
    "share_by_processor",
    "share_of_packed",
    "ratio_to_generate",
    "ratio_to_vllm",
    "max_logprob_gap",
    "peak_memory_gib",
)


def load_model(name: str) -> Any:
    """The model called `name` as everywhere, or one of the quickstart's size with random weights for "scratch"."""
    if name != "scratch":
        return AutoModelForCausalLM.from_pretrained(resolve(name), dtype=torch.float32).eval()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.06,
    )
    return LlamaForCausalLM(config).eval()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of the model called `name`, where it has a chat template to ask problems with."""
    if name == "scratch":
        return None
    source = resolve(name)
    if Path(source).is_dir() and not (Path(source) / "tokenizer_config.json").exists():
        return None
    tokenizer = AutoTokenizer.from_pretrained(source)
    return tokenizer if tokenizer.chat_template else None


def random_prompts(count: int, shortest: int, longest: int, vocabulary: int) -> list[list[int]]:
    """`count` prompts of random tokens, of lengths spread over [shortest, longest]."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.linspace(shortest, longest, count).long().tolist()
    return [torch.randint(100, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def problem_prompts(count: int, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """`count` Countdown problems, as a run asks them."""
    problems = draw_problems(load_mixture({"countdown": {}}), "test", count, seed=0)
    return [prompt_ids(tokenizer, messages(problem)) for problem in problems]


def limit_tokens_per_second(model: torch.nn.Module, rows: int) -> float:
    """Tokens a second if a step of `rows` rows were the model's matrix products and nothing else."""
    return rows / product_seconds(model, rows)[0]


def product_seconds(model: torch.nn.Module, rows: int) -> tuple[float, float]:
    """The least seconds, by the clock and of processors, that the model's matrix products of `rows` rows take."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    device, dtype = layers[0].weight.device, layers[0].weight.dtype
    widths = {layer.in_features for layer in layers}
    inputs = {width: torch.randn(rows, width, device=device, dtype=dtype) for width in widths}
    best, least = float("inf"), float("inf")
    with torch.no_grad():
        for _ in range(8):
            started, processor_started = time.perf_counter(), time.process_time()
            for layer in layers:
                layer(inputs[layer.in_features])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - started)
            least = min(least, time.process_time() - processor_started)
    return best, least


@dataclass
class Products:
    """The least seconds of a step's matrix products so far, by the clock and of processors, packed and not."""

    rows: int
    plain: tuple[float, float] = (float("inf"), float("inf"))
    packed: tuple[float, float] | None = None

    def take(self, model: torch.nn.Module) -> None:
        """Measure once more, so that a busy moment of the machine does not set the limit."""
        self.plain = _least(self.plain, product_seconds(model, self.rows))
        if packed_bytes(model):
            with packed_linears(model):
                self.packed = _least(self.packed or self.plain, product_seconds(model, self.rows))

    def limits(self) -> dict[str, float | None]:
        """Tokens a second by the clock, and tokens a second of one processor."""
        return {
            "limit": self.rows / self.plain[0],
            "packed_limit": self.rows / self.packed[0] if self.packed else None,
            "processor_limit": self.rows / self.plain[1] if self.plain[1] else None,
        }


def _least(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), min(one[1], other[1])


class ContinuousBatching:
    """transformers' own continuous batching behind the same call, for this comparison only."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def generate(self, prompts: list[list[int]], samples_per_prompt: int, sampling: Sampling) -> list[Rollout]:
        """See `RolloutBackend.generate`; without log-probabilities."""
        rows = [prompt for prompt in prompts for _ in range(samples_per_prompt)]
        config = GenerationConfig(
            do_sample=True,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(sampling.stop_ids),
            pad_token_id=0,
            top_k=0,
        )
        outputs = self.model.generate_batch(rows, generation_config=config)
        return [Rollout(list(output.generated_tokens), "length") for output in outputs.values()]


def measure(
    name: str, backend: Any, prompts: list[list[int]], samples: int, sampling: Sampling
) -> tuple[dict[str, Any], list[Rollout]]:
    """Seconds and tokens of one call, after a short warm-up on other prompts of the same lengths."""
    backend.generate(
        [prompt[::-1] for prompt in prompts], samples, Sampling(max_new_tokens=4, stop_ids=sampling.stop_ids)
    )
    started, processor_started, machine_started = time.perf_counter(), processor_time(), machine_time()
    rollouts = backend.generate(prompts, samples, sampling)
    seconds, processor_seconds = time.perf_counter() - started, processor_time() - processor_started
    others = max(0.0, machine_time() - machine_started - processor_seconds)
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    row = {
        "engine": name,
        "rows": len(rollouts),
        "tokens": tokens,
        "seconds": seconds,
        "processor_seconds": processor_seconds,  # with one thread, the figure to trust on a machine that others use
        "busy_processors": others / seconds,  # that other work on the machine kept busy meanwhile
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    return row, rollouts


def processor_time() -> float:
    """Processor seconds that this process and those that it started have used."""
    times = [process.cpu_times() for process in tree()]
    return sum(used.user + used.system for used in times)


def machine_time() -> float:
    """Processor seconds that all work on this machine has used, or that its host has given to others."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def tree() -> list[psutil.Process]:
    """This process and those that it started, and they in turn."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def peak_memory(process: psutil.Process) -> int:
    """The most resident memory that `process` ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def vllm_alone(
    model: Any, arguments: argparse.Namespace, prompts: list[list[int]], sampling: Sampling
) -> tuple[dict[str, Any], list[Rollout]]:
    """`measure` of vLLM in processes that hold nothing else and are gone afterwards."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=spawn) as pool:
        if arguments.model == "scratch":
            model.save_pretrained(folder)
            source = folder
        else:
            source = resolve(arguments.model)  # what vLLM compiled for this path before, it finds again
        return pool.submit(measure_vllm, source, arguments, prompts, sampling).result()


def measure_vllm(
    source: str, arguments: argparse.Namespace, prompts: list[list[int]], sampling: Sampling
) -> tuple[dict[str, Any], list[Rollout]]:
    """`measure` of vLLM on the model in the folder `source`, in a fresh process."""
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with VLLMBackend(source, cache_gib=arguments.cache_gib, max_rows=arguments.max_rows) as backend:
        row, rollouts = measure("vllm", backend, prompts, arguments.samples, sampling)
        return row | {"peak_memory_bytes": sum(peak_memory(process) for process in tree())}, rollouts


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the engines asked for, and relate them to the limits, to `generate` and to vLLM."""
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    model = load_model(arguments.model).to(device, getattr(torch, arguments.dtype))
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
    sampling = Sampling(max_new_tokens=arguments.max_new_tokens, stop_ids=stops, temperature=1.0)
    engine = RolloutEngine(model, cache_gib=arguments.cache_gib, max_rows=arguments.max_rows)
    backends: dict[str, Any] = {
        "engine": engine,
        "generate": GenerateBackend(model, 0),
        "continuous_batching": ContinuousBatching(model),
    }
    results: list[dict[str, Any]] = []
    products: Products | None = None
    for name in arguments.engines.split(","):  # the engine first: the peak of resident memory never falls again
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            if name == "vllm":
                row, rollouts = vllm_alone(model, arguments, prompts, sampling)
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
            batch = engine.stats.decode_rows / engine.stats.steps
            row |= {"mean_batch": batch, "preemptions": engine.stats.preemptions}
            row["replayed_share"] = engine.stats.replayed_steps / engine.stats.steps
            products = Products(round(batch))
        has_logprobs = rollouts[0].logprobs is not None
        row["max_logprob_gap"] = compare(prompts, rollouts, forward_logprobs(model)).largest if has_logprobs else None
        results.append(row)
        if products is not None:
            products.take(model)
            next(row for row in results if row["engine"] == "engine").update(products.limits())
        if row["busy_processors"] > BUSY:
            print(
                f"{name}: other work kept {row['busy_processors']:.1f} of {psutil.cpu_count()} processors busy, so "
                "tokens a second are too few; trust shares by processor time, or measure again.",
                file=sys.stderr,
            )
        relate(results)
        if arguments.json:  # a benchmark of many minutes that is cut off leaves what it has measured
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
        print(f"{name}: {row['tokens_per_second']:,.0f} tokens a second", file=sys.stderr)
    return results


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


def fault(arguments: argparse.Namespace) -> str | None:
    """Why these options cannot be measured; None where they can."""
    for name in arguments.engines.split(","):
        if name not in ENGINES:
            return f"--engines has {name!r}; expected some of: {', '.join(ENGINES)}."
    for name in ("prompts", "samples", "shortest", "longest", "max_new_tokens", "max_rows", "threads"):
        if getattr(arguments, name) < 1:
            return f"--{name.replace('_', '-')} is {getattr(arguments, name)}; expected at least 1."
    return None


def print_table(results: list[dict[str, Any]]) -> None:
    """One line an engine."""
    print(" ".join(f"{column:>19}" for column in COLUMNS))
    for row in results:
        row = row | {"peak_memory_gib": row.get("gpu_peak_memory_bytes", row["peak_memory_bytes"]) / 2**30}
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in (row[c] for c in COLUMNS)]
        print(" ".join(f"{cell:>19}" for cell in cells))


def main() -> int:
    """Parse, measure, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="scratch", help='"scratch", smollm2-135m, a folder or a hub id')
    parser.add_argument(
        "--engines",
        default="engine,generate,vllm,continuous_batching"
        if importlib.util.find_spec("vllm")
        else "engine,generate,continuous_batching",
        help="those that do not run here are left out with a message (default: %(default)s)",
    )
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--random-prompts", action="store_true", help="ask random tokens, whatever the model")
    parser.add_argument("--shortest", type=int, default=40, help="tokens of the shortest random prompt")
    parser.add_argument("--longest", type=int, default=120, help="tokens of the longest random prompt")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--typical", type=int, default=0, help="random models: the mean length to aim at")
    parser.add_argument("--max-rows", type=int, default=256)
    parser.add_argument("--cache-gib", type=float, default=None)
    parser.add_argument("--device", default="cpu", help='such as "cuda"')
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    if wrong := fault(arguments):
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    try:
        print_table(run(arguments))
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
