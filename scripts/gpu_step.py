"""Everything that the decode path has to show on a card, in one call under ten minutes, on a bare machine.

    python scripts/gpu_step.py --json gpu_step.json
    TRITON_INTERPRET=1 python scripts/gpu_step.py --device cpu --json /tmp/dry.json     (what a CPU can exercise)

It needs torch 2.11 or newer, triton and transformers, and this repository; weights are random, from configurations.
After each part the file is written anew, so a call that is cut off has shown what it had. Parts, most telling first:
`card` (copy bandwidth, product rate), `kernels` (each against float64, outputs poisoned), `graph` (replays equal eager
steps, token by token), `steps` (medians by model, rows, context, weights and path), `calls` (whole calls). The exit
code is 0 if every kernel and graph was right, 1 if one was not, 2 without a device.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.triton_kernels import runnable

TIMED = 22  # decode steps of a measurement, two of them to warm up
BYTES_PER_SECOND = "copy_bytes_per_second"


def smollm2() -> PreTrainedModel:
    """SmolLM2-135M."""
    size: dict[str, Any] = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads: dict[str, Any] = {"num_attention_heads": 9, "num_key_value_heads": 3}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True, **size, **heads)
    )


def qwen(hidden: int, inner: int, layers: int, heads: int) -> PreTrainedModel:
    """A Qwen2.5 with 2 key heads."""
    size: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151936,
            max_position_embeddings=32768,
            num_attention_heads=heads,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            **size,
        )
    )


def tiny() -> PreTrainedModel:
    """What the interpreter can run."""
    size: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, max_position_embeddings=8192, **size, **heads))


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2.5-1.5b": lambda: qwen(1536, 8960, 28, 12),
    "smollm2-135m": smollm2,
    "qwen2.5-0.5b": lambda: qwen(896, 4864, 24, 14),
}


class Clock:
    """Times on the device, and how much of the call is left."""

    def __init__(self, device: torch.device, limit: float) -> None:
        self.device = device
        self._ends = time.monotonic() + limit

    @property
    def left(self) -> float:
        """Seconds."""
        return self._ends - time.monotonic()

    def median_ms(self, work: Callable[[], Any], times: int) -> float:
        """The median of `times` runs of `work`, after two to warm up, in milliseconds."""
        spent = []
        for number in range(times + 2):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            if number > 1:
                spent.append((time.perf_counter() - started) * 1e3)
        return sorted(spent)[len(spent) // 2]

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def card(clock: Clock) -> dict[str, Any]:
    """What the device does at best: bytes copied and products multiplied a second."""
    on_card = clock.device.type == "cuda"
    block = torch.empty(2**30 if on_card else 2**22, dtype=torch.uint8, device=clock.device)
    other = torch.empty_like(block)
    size = 8192 if on_card else 128
    dtype = torch.bfloat16 if on_card else torch.float32
    square = torch.randn(size, size, device=clock.device).to(dtype)
    copy, product = clock.median_ms(lambda: other.copy_(block), 10), clock.median_ms(lambda: square @ square, 10)
    return {
        "name": torch.cuda.get_device_name() if on_card else "cpu",
        "torch": torch.__version__,
        BYTES_PER_SECOND: 2e3 * block.numel() / copy,
        "flops_per_second": 2e3 * size**3 / product,
    }


def attention_gap(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, dim: int) -> float:
    """Of decoding over pages whose unused places are NaN, against float64."""
    from train.rollout.triton_kernels.decode_attention import decode_attention

    lengths, page, width = [1, 15, 16, 17, 300], 16, 20
    table = torch.randperm(len(lengths) * width, device=device).view(-1, width).int()
    pool = torch.full((2, table.numel(), page, key_heads, dim), float("nan"), device=device, dtype=dtype)
    for row, length in enumerate(lengths):
        at = torch.arange(length, device=device)
        slots = table[row, at // page].long() * page + at % page
        pool.flatten(1, 2)[:, slots] = torch.randn(2, length, key_heads, dim, device=device).to(dtype)
    queries = torch.randn(len(lengths), heads, dim, device=device).to(dtype)
    sizes = torch.tensor(lengths, dtype=torch.int32, device=device)
    result = decode_attention(queries, pool[0], pool[1], table, sizes, dim**-0.5, split_tokens=128)
    worst = 0.0
    for row, length in enumerate(lengths):
        key, value = (
            part[table[row].long()].flatten(0, 1)[:length].double().repeat_interleave(heads // key_heads, 1)
            for part in pool
        )
        weights = torch.einsum("hd,thd->ht", queries[row].double() * dim**-0.5, key).softmax(1)
        own = torch.einsum("ht,thd->hd", weights, value)
        worst = max(worst, float((result[row].double() - own).abs().max()))
    return worst if result.isfinite().all() else float("inf")


def kernels(device: torch.device) -> list[dict[str, Any]]:
    """Each kernel against float64: the largest difference, and what is allowed."""
    from train.rollout.triton_kernels.gated import gated
    from train.rollout.triton_kernels.norm import residual_norm
    from train.rollout.triton_kernels.product import invariant_linear

    on_card = device.type == "cuda"
    results = []

    def note(name: str, dtype: torch.dtype, gap: float, allowed: float) -> None:
        results.append({"kernel": name, "dtype": str(dtype), "gap": gap, "allowed": allowed, "right": gap <= allowed})

    for dtype in (torch.bfloat16, torch.float16, torch.float32) if on_card else (torch.float16, torch.float32):
        close = 40 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
        for heads, key_heads, dim in ((9, 3, 64), (12, 2, 128)) if on_card else ((3, 1, 64),):
            gap = attention_gap(device, dtype, heads, key_heads, dim)
            note(f"decode attention {heads}/{key_heads}x{dim}", dtype, gap, close)
        stream, delta = torch.randn(3, 576, device=device).to(dtype), torch.randn(3, 576, device=device).to(dtype)
        result = residual_norm(stream, delta, torch.ones(576, device=device, dtype=dtype), 1e-5, dtype).double()
        whole = stream.double()
        own = whole / (whole.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        note("norm", dtype, float((result - own).abs().max()), close)
        both = torch.randn(3, 3072, device=device).to(dtype)
        gate, up = both.double().chunk(2, 1)
        own = torch.nn.functional.silu(gate) * up
        note("gated", dtype, float((gated(both, gelu=False).double() - own).abs().max()), 2 * close)
        left, right = torch.randn(70, 96, device=device).to(dtype), torch.randn(75, 96, device=device).to(dtype)
        gap = float((invariant_linear(left, right, None).double() - left.double() @ right.double().T).abs().max())
        note("product", dtype, gap, 10 * close)
        alone = invariant_linear(left[66:67], right, None)
        note("product alone", dtype, float((invariant_linear(left, right, None)[66:67] - alone).abs().max()), 0.0)
    return results


def engine_of(model: torch.nn.Module, device: torch.device, rows: int, **options: Any) -> RolloutEngine:
    """An engine over pages with the own kernels, on any device."""
    own = options.pop("own_kernels", True)
    return RolloutEngine(model, page_tokens=16 if own else None, own_kernels=own, max_rows=rows, **options)


def graph(model: torch.nn.Module, device: torch.device, tokens: int) -> dict[str, Any]:
    """Whether replays and eager steps draw the same tokens."""
    prompts = [[3 + number, *range(5, 25)] for number in range(3)]
    sampling = Sampling(tokens, ())
    eager = engine_of(model, device, 64, cuda_graphs=False).generate(prompts, 2, sampling)
    engine = engine_of(model, device, 64)
    replayed = engine.generate(prompts, 2, sampling)
    return {
        "equal": [r.token_ids for r in eager] == [r.token_ids for r in replayed],
        "forward": engine.forward.name if engine.forward else "",
        "replayed_share": engine.stats.replayed_steps / max(1, engine.stats.steps),
    }


def floor_ms(model: torch.nn.Module, engine: RolloutEngine, rows: int, context: int, bandwidth: float) -> float:
    """Bytes that a step has to read, over the bandwidth."""
    dtype = engine.layers[0].value_dtype
    weights = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    token = sum(layer.bytes_per_token for layer in engine.layers)
    return (weights + rows * context * token) / bandwidth * 1e3


def step(
    model: torch.nn.Module, clock: Clock, rows: int, context: int, weights: str, path: str, bandwidth: float
) -> dict[str, Any]:
    """The median of a decode step of `rows` rows that read `context` tokens each."""
    autocast = torch.autocast(clock.device.type, torch.bfloat16) if weights == "autocast" else nullcontext()
    prompts = [[3 + number % 50, *[5 + place % 50 for place in range(context - 17)]] for number in range(1)]
    if clock.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with autocast:
        engine = engine_of(model, clock.device, rows, own_kernels=path == "fused", chunk_tokens=4096)
        engine.generate(prompts, rows, Sampling(16, ()))  # takes the graph of this batch size
        decoder = engine.decoder
        assert decoder is not None and engine.forward is not None
        decoder.state.ended[:rows] = False
        decoder.state.cached[:rows] = context - 1 - TIMED  # what runs below must stay within the rows' pages
        decoder.state.limit.fill_(1 << 30)
        sampling = Sampling(16, ())
        with torch.no_grad():
            ms = clock.median_ms(lambda: decoder.decode(sampling), TIMED - 2 if clock.device.type == "cuda" else 1)
        peak = torch.cuda.max_memory_allocated() if clock.device.type == "cuda" else 0
        floor = floor_ms(model, engine, rows, context, bandwidth)
        name, shadow = engine.forward.name, engine.forward.bytes
        engine.release()
    return {
        "rows": rows,
        "context": context,
        "weights": weights,
        "path": path,
        "forward": name,
        "ms": ms,
        "floor_ms": floor,
        "share_of_floor": floor / ms,
        "tokens_per_second": rows / ms * 1e3,
        "shadow_bytes": shadow,
        "peak_bytes": peak,
    }


def cases(on_card: bool) -> Iterator[tuple[str, int, int, str, str]]:
    """Model, rows, context, weights and path, the most telling first."""
    if not on_card:
        yield "tiny", 2, 40, "float32", "fused"
        return
    for rows, context in ((256, 512), (1024, 512), (64, 512), (16, 512), (1, 512), (256, 4096), (64, 4096)):
        for weights in ("bf16", "autocast"):
            for name in MODELS:
                for path in ("fused", "as it was") if rows in (64, 256, 1024) and context == 512 else ("fused",):
                    yield name, rows, context, weights, path


def build(name: str, weights: str, device: torch.device) -> PreTrainedModel:
    """A model with random weights."""
    torch.manual_seed(0)
    with device:
        model = tiny() if name == "tiny" else MODELS[name]()
    return model.eval().to(device, torch.bfloat16 if weights == "bf16" else torch.float32)


def call(model: torch.nn.Module, device: torch.device, prompts: int, samples: int, tokens: int) -> dict[str, Any]:
    """A whole call, the second of two."""
    asked = [[3 + number % 50, *range(5, 105)] for number in range(prompts)]
    engine = engine_of(model, device, 1024 if device.type == "cuda" else 8)
    for _ in range(2 if device.type == "cuda" else 1):
        engine.generate(asked, samples, Sampling(tokens, ()))
    stats = engine.stats
    engine.release()
    return {"rollouts": prompts * samples, "tokens": tokens, "tokens_per_second": stats.new_tokens / stats.seconds}


def table(steps: list[dict[str, Any]]) -> str:
    """One line a step."""
    lines = ["model           rows  context  weights   path        ms      floor   share  tokens/s  forward"]
    for s in steps:
        if "error" in s:
            lines.append(
                f"{s['model']:14}  {s['rows']:5} {s['context']:7}  {s['weights']:8}  {s['path']:9}  {s['error']}"
            )
            continue
        lines.append(
            f"{s['model']:14}  {s['rows']:5} {s['context']:7}  {s['weights']:8}  {s['path']:9} {s['ms']:8.2f} "
            f"{s['floor_ms']:8.2f}  {s['share_of_floor']:5.0%}  {s['tokens_per_second']:8.0f}  {s['forward']}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, default=Path("gpu_step.json"))
    parser.add_argument("--seconds", type=float, default=560.0, help="no part is started after these")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu-step: no CUDA device on this machine; `--device cpu` with TRITON_INTERPRET=1 is a dry run.")
        return 2
    if not runnable(device):
        print("gpu-step: the Triton kernels do not run here; install triton, or set TRITON_INTERPRET=1 on a CPU.")
        return 2
    clock, on_card = Clock(device, arguments.seconds), device.type == "cuda"
    report: dict[str, Any] = {}

    def save(part: str, value: Any) -> None:
        report[part] = value
        arguments.json.write_text(json.dumps(report, indent=1))
        print(f"{part}: {value if part != 'steps' else value[-1]}", flush=True)

    save("card", card(clock))
    save("kernels", kernels(device))
    first = "smollm2-135m" if on_card else "tiny"
    save("graph", graph(build(first, "bf16" if on_card else "float32", device), device, 24 if on_card else 3))
    steps: list[dict[str, Any]] = []
    kept: tuple[str, str] = ("", "")
    model: PreTrainedModel | None = None
    for name, rows, context, weights, path in cases(on_card):
        if clock.left < 30:
            break
        try:
            if kept != (name, weights):
                model = None
                model, kept = build(name, weights, device), (name, weights)
            assert model is not None
            done = step(model, clock, rows, context, weights, path, report["card"][BYTES_PER_SECOND])
        except Exception as error:  # one case that fails must not take the others with it
            done = {"rows": rows, "context": context, "weights": weights, "path": path, "error": repr(error)[:300]}
        steps.append({"model": name, **done})
        save("steps", steps)
    for name, prompts in (("qwen2.5-1.5b", 64), ("smollm2-135m", 16)) if on_card else (("tiny", 1),):
        if clock.left > 60:
            whole = call(
                build(name, "bf16" if on_card else "float32", device),
                device,
                prompts,
                16 if on_card else 2,
                512 if on_card else 2,
            )
            save(f"call {name} x {prompts}", whole)
    print(table(steps))
    right = all(result["right"] for result in report["kernels"]) and report["graph"]["equal"]
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
