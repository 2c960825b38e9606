"""Decode steps: replays against eager steps, and the medians of steps by model, rows, context, weights and path."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from gpu_steps.clock import Clock
from gpu_steps.models import MODELS, WEIGHTS, LastModel, precision
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.module_state import engine_mode
from train.rollout.paged.decoder import Capacity, PagedDecoder
from train.rollout.schedule.rows import RowArrays

GRID = [(rows, 512) for rows in (256, 1024, 64, 16, 1)] + [(rows, 4096) for rows in (256, 64, 16, 1, 1024)]
TIMED = 22  # decode steps of a measurement, two of them to warm up
# How layers run: fused, compiled, as before both, and fused with products that do not depend on the batch.
PATHS: dict[str, dict[str, Any]] = {
    "fused": {"own_kernels": True},
    "compiled": {"own_kernels": True, "fuse_layers": False, "compile_layers": True},
    "as it was": {"own_kernels": False, "compile_layers": False},
    "deterministic": {"own_kernels": True, "deterministic": True},
}


def cases(on_card: bool) -> Iterator[tuple[str, int, int, str, str]]:
    """Model, rows, context, weights and path, the most telling first."""
    if not on_card:
        for path in PATHS:
            yield "tiny", 2, 40, "float32", path
        return
    for rows, context in GRID:
        for weights in WEIGHTS:
            for name in MODELS:
                yield name, rows, context, weights, "fused"
                if context == 512 and rows in (64, 256, 1024):
                    yield name, rows, context, weights, "as it was"
                    yield name, rows, context, weights, "compiled"
                if (rows, context, weights) == (256, 512, "bf16"):
                    yield name, rows, context, weights, "deterministic"


def engine_of(model: torch.nn.Module, rows: int, path: str, **options: Any) -> RolloutEngine:
    """An engine over pages, on any device. Its support was never in doubt, so it is not tried."""
    choice = PATHS[path]
    page = 16 if choice["own_kernels"] or next(model.parameters()).device.type == "cpu" else None
    return RolloutEngine(model, page_tokens=page, max_rows=rows, trial=False, **choice, **options)


def graph(model: torch.nn.Module, path: str, tokens: int) -> dict[str, Any]:
    """Whether replays and eager steps draw the same tokens."""
    prompts = [[3 + number, *range(5, 25)] for number in range(3)]
    sampling = Sampling(tokens, ())
    eager = engine_of(model, 64, path, cuda_graphs=False).generate(prompts, 2, sampling)
    engine = engine_of(model, 64, path)
    replay = engine.generate(prompts, 2, sampling)
    result = {
        "equal": [r.token_ids for r in eager] == [r.token_ids for r in replay],
        "forward": engine.forward.name if engine.forward else "",
        "replayed_share": engine.stats.replayed_steps / max(1, engine.stats.steps),
    }
    engine.release()
    return result


def prefill_graph(model: torch.nn.Module, path: str, longest: int) -> dict[str, Any]:
    """Whether replayed prefills give the tokens of eager ones, and by how much log-probabilities differ.

    The second call replays what the first has captured, with other prompts of the same lengths.
    """
    lengths, sampling = (1, 15, 16, 17, 33, longest), Sampling(3, ())
    first, second = ([[3 + (shift + at) % 90 for at in range(count)] for count in lengths] for shift in (0, 7))
    engines = [engine_of(model, 64, path, cuda_graphs=graphs) for graphs in (False, True)]
    results = []
    for engine in engines:
        engine.generate(first, 1, sampling)
        results.append(engine.generate(second, 1, sampling))
    eager, replay = (engine.stats for engine in engines)
    logprobs = [[logprob for rollout in rollouts for logprob in rollout.logprobs or []] for rollouts in results]
    result = {
        "equal": all(one.token_ids == other.token_ids for one, other in zip(*results, strict=True)),
        "largest_gap": max(abs(one - other) for one, other in zip(*logprobs, strict=True)),
        "replayed_share": replay.replayed_prefills / max(1, replay.prefills),
        "eager_seconds": eager.seconds,
        "replay_seconds": replay.seconds,
    }
    for engine in engines:
        engine.release()
    return result


def floor_ms(model: torch.nn.Module, engine: RolloutEngine, rows: int, context: int, bandwidth: float) -> float:
    """Bytes that a step has to read, over the bandwidth."""
    dtype = engine.layers[0].value_dtype
    weights = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    token = sum(layer.bytes_per_token for layer in engine.layers)
    return (weights + rows * context * token) / bandwidth * 1e3


def step(
    model_of: LastModel,
    name: str,
    clock: Clock,
    rows: int,
    context: int,
    weights: str,
    path: str,
    bandwidth: float,
) -> dict[str, Any]:
    """The median of a decode step of `rows` rows that read `context` tokens each."""
    model = model_of(name, weights)
    if clock.on_card:
        torch.cuda.reset_peak_memory_stats()
    with precision(weights, clock.device):
        engine = engine_of(model, rows, path, chunk_tokens=4096)
        sampling = Sampling(2, ())
        engine.generate([[3, *[5 + place % 50 for place in range(context - 3)]]], 1, sampling)  # chooses the forward
        assert engine.forward is not None
        with engine_mode(model), norms_of(engine):
            decoder = decoder_of(engine, rows, context)
            ms = clock.median_ms(lambda: decoder.decode(sampling), TIMED - 2 if clock.on_card else 1)
            decoder.state.cached[:rows] = context - 1 - TIMED
            launches = launches_of(decoder, sampling) if clock.on_card else None
        floor = floor_ms(model, engine, rows, context, bandwidth)
        result = {
            "rows": rows,
            "context": context,
            "weights": weights,
            "path": path,
            "forward": engine.forward.name,
            "ms": ms,
            "floor_ms": floor,
            "share_of_floor": floor / ms,
            "launches": launches,
            "tokens_per_second": rows / ms * 1e3,
            "shadow_bytes": engine.forward.bytes,
            "pool_bytes": decoder.pool.bytes,
            "peak_bytes": torch.cuda.max_memory_allocated() if clock.on_card else 0,
        }
    engine.release()
    return result


def norms_of(engine: RolloutEngine) -> AbstractContextManager[Any]:
    """What the engine puts in the place of the module's norms in a call, where the module itself runs."""
    assert engine.forward is not None
    return nullcontext() if engine.fused is None or engine.forward.as_is else engine.fused.applied()


def decoder_of(engine: RolloutEngine, rows: int, context: int) -> PagedDecoder:
    """A decoder in the place of the engine's, whose rows each have `context` tokens in pages of their own.

    Rows of one prompt would read its pages from the chip's cache, and a step would look faster than its bytes allow.
    The pages lie in no order, as they do after some rollouts have come and gone.
    """
    assert engine.decoder is not None and engine.forward is not None
    device, page_tokens = engine.decoder.device, engine.decoder.pool.page_tokens
    engine.drop_pool()  # before the new one takes its memory
    pages = -(-context // page_tokens)
    capacity = Capacity(rows * pages + 1, pages, rows, rows)
    graphs = engine.limits.cuda_graphs
    decoder = engine.decoder = PagedDecoder(
        engine.forward,
        engine.layers,
        capacity,
        capacity.pages,
        page_tokens,
        device,
        prefill_tokens=engine.limits.chunk_tokens,
        cuda_graphs=graphs,
    )
    decoder.graphs.validate(engine.forward)
    for pool in (*decoder.pool.keys, *decoder.pool.values):
        pool.normal_()
    arrays, numbers = RowArrays(rows, 1, pages), np.arange(rows)
    arrays.table[:] = 1 + np.random.default_rng(0).permutation(rows * pages).reshape(rows, pages)
    arrays.block_count[:] = pages
    cached = np.full(rows, context - 1 - TIMED)  # what is timed must stay within the rows' pages
    decoder.state.start(cached, numbers, 1 << 30, np.zeros(rows, bool))
    decoder.fill(numbers, arrays)
    return decoder


def launches_of(decoder: PagedDecoder, sampling: Sampling) -> int:
    """Kernels of one step, whether replayed or not."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        decoder.decode(sampling)
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in profiler.events() or [])
