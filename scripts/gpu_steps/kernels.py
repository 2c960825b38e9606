"""Each kernel against float64. Pages that no row owns are NaN, and so is memory that a kernel has not written yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from train.rollout.counter import uniforms
from train.rollout.interface import Sampling
from train.rollout.sampler import draw_tokens, workspace
from train.rollout.triton_kernels.decode_attention import decode_attention
from train.rollout.triton_kernels.gated import gated
from train.rollout.triton_kernels.norm import residual_norm
from train.rollout.triton_kernels.prefill_attention import prefill_attention
from train.rollout.triton_kernels.product import invariant_linear
from train.rollout.triton_kernels.rope import rope_write
from train.rollout.triton_kernels.sampling import draw_on_device
from train.rollout.triton_kernels.tiles import tiles_of

PAGE = 16
LENGTHS = [1, 15, 16, 17, 300]  # of rows: at the edges of pages, and past a split


@contextmanager
def poisoned() -> Iterator[None]:
    """Have `torch.empty` give NaN, so that what a kernel leaves unwritten shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def check_kernels(device: torch.device) -> list[dict[str, Any]]:
    """Each kernel in each type: the largest difference, and what is allowed."""
    on_card = device.type == "cuda"
    shapes = [(9, 3, 64), (12, 2, 128)] if on_card else [(3, 1, 64)]
    dtypes = (torch.bfloat16, torch.float16, torch.float32) if on_card else (torch.float16, torch.float32)
    results = []
    with poisoned():
        for dtype in dtypes:
            close = 40 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
            checks: list[tuple[str, Callable[[], float], float]] = []
            for heads, key_heads, dim in shapes:
                name, shape = f"{heads}/{key_heads}x{dim}", (device, dtype, heads, key_heads, dim)
                checks.append((f"decode attention {name}", partial(decode_gap, *shape), close))
                checks.append((f"prefill attention {name}", partial(prefill_gap, *shape), close))
                checks.append((f"rope and cache write {name}", partial(rope_gap, *shape), close))
            checks += [
                ("norm", partial(norm_gap, device, dtype), close),
                ("gated", partial(gated_gap, device, dtype), 2 * close),
                ("product", partial(product_gap, device, dtype), 10 * close),
                ("product alone", partial(alone_gap, device, dtype), 0.0),
                ("sampling", partial(sampling_gap, device, dtype), 1e-4),
            ]
            for name, check, tolerance in checks:
                gap = check()
                results.append(
                    {"kernel": name, "dtype": str(dtype), "gap": gap, "allowed": tolerance, "right": gap <= tolerance}
                )
    return results


def largest(result: torch.Tensor, own: torch.Tensor) -> float:
    """The largest difference; infinite where a number is missing."""
    gap = (result.double() - own.double()).abs()
    return float(gap.max()) if bool(gap.isfinite().all()) else float("inf")


def filled_pages(
    device: torch.device, dtype: torch.dtype, key_heads: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (2, pages, page tokens, key heads, dim) of rows of LENGTHS, NaN elsewhere, and their table."""
    width = -(-max(LENGTHS) // PAGE) + 1
    table = torch.randperm(len(LENGTHS) * width, device=device).view(-1, width).int()
    pool = torch.full((2, table.numel(), PAGE, key_heads, dim), float("nan"), device=device, dtype=dtype)
    for row, length in enumerate(LENGTHS):
        at = torch.arange(length, device=device)
        slots = table[row, at // PAGE].long() * PAGE + at % PAGE
        pool.flatten(1, 2)[:, slots] = torch.randn(2, length, key_heads, dim, device=device).to(dtype)
    return pool, table


def attention(query: torch.Tensor, pool: torch.Tensor, pages: torch.Tensor, length: int) -> torch.Tensor:
    """(heads, dim) of one query (heads, dim) over the first `length` tokens of `pages`, in float64."""
    heads, dim = query.shape
    key, value = (
        part[pages.long()].flatten(0, 1)[:length].double().repeat_interleave(heads // pool.shape[3], 1) for part in pool
    )
    weights = torch.einsum("hd,thd->ht", query.double() * dim**-0.5, key).softmax(1)
    return torch.einsum("ht,thd->hd", weights, value)


def decode_gap(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, dim: int) -> float:
    """The gap of attention with one query a row."""
    pool, table = filled_pages(device, dtype, key_heads, dim)
    queries = torch.randn(len(LENGTHS), heads, dim, device=device).to(dtype)
    sizes = torch.tensor(LENGTHS, dtype=torch.int32, device=device)
    result = decode_attention(queries, pool[0], pool[1], table, sizes, dim**-0.5, split_tokens=128)
    own = [attention(queries[row], pool, table[row], length) for row, length in enumerate(LENGTHS)]
    return largest(result, torch.stack(own))


def prefill_gap(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, dim: int) -> float:
    """The gap of attention over the last tokens of each row, up to 40."""
    pool, table = filled_pages(device, dtype, key_heads, dim)
    counts = np.minimum(LENGTHS, 40)
    queries = torch.randn(int(counts.sum()), heads, dim, device=device).to(dtype)
    tiles = torch.from_numpy(tiles_of(counts, np.array(LENGTHS))).to(device)
    result = prefill_attention(queries, pool[0], pool[1], table, tiles, dim**-0.5)
    places = [
        (row, length - count + number + 1)
        for row, (length, count) in enumerate(zip(LENGTHS, counts.tolist(), strict=True))
        for number in range(count)
    ]
    own = [attention(query, pool, table[row], until) for query, (row, until) in zip(queries, places, strict=True)]
    return largest(result, torch.stack(own))


def rope_gap(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, dim: int) -> float:
    """The gap of rotated queries, and of keys and values in their places."""
    tokens = 5
    projected = torch.randn(tokens, (heads + 2 * key_heads) * dim, device=device).to(dtype)
    positions, slots = torch.tensor([0, 5, 11, 2, 7], device=device), torch.tensor([63, 0, 17, 18, 40], device=device)
    angles = torch.arange(12, device=device)[:, None] / 10 ** torch.linspace(0, 2, dim // 2, device=device)
    cos, sin = (torch.cat([function(angles)] * 2, 1) for function in (torch.cos, torch.sin))
    keys, values = torch.full((2, 4, PAGE, key_heads, dim), float("nan"), device=device, dtype=dtype)
    parts = projected.clone().double().view(tokens, -1, dim).split([heads, key_heads, key_heads], 1)
    result = rope_write(projected, positions, slots, keys, values, heads, table=(cos, sin))

    def rotated(part: torch.Tensor) -> torch.Tensor:
        first, second = part.chunk(2, -1)
        halves = torch.cat([-second, first], -1)
        return part * cos[positions].double().unsqueeze(1) + halves * sin[positions].double().unsqueeze(1)

    entries = [pages.view(-1, key_heads, dim)[slots] for pages in (keys, values)]
    own = (rotated(parts[0]), rotated(parts[1]), parts[2])
    return max(largest(part, expected) for part, expected in zip((result, *entries), own, strict=True))


def norm_gap(device: torch.device, dtype: torch.dtype) -> float:
    """The gap of the norm of a sum."""
    stream, delta = (torch.randn(3, 576, device=device).to(dtype) for _ in range(2))
    result = residual_norm(stream, delta, torch.ones(576, device=device, dtype=dtype), 1e-5, dtype)
    whole = stream.double()  # to which `delta` has been added
    return largest(result, whole / (whole.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt())


def gated_gap(device: torch.device, dtype: torch.dtype) -> float:
    """The gap of SiLU of one half times the other."""
    both = torch.randn(3, 3072, device=device).to(dtype)
    gate, up = both.double().chunk(2, 1)
    return largest(gated(both, gelu=False), torch.nn.functional.silu(gate) * up)


def product_gap(device: torch.device, dtype: torch.dtype) -> float:
    """The gap of the product that does not depend on the batch."""
    left, right = torch.randn(70, 96, device=device).to(dtype), torch.randn(75, 96, device=device).to(dtype)
    return largest(invariant_linear(left, right, None), left.double() @ right.double().T)


def alone_gap(device: torch.device, dtype: torch.dtype) -> float:
    """Between a row of it among others, and alone: none is allowed."""
    left, right = torch.randn(70, 96, device=device).to(dtype), torch.randn(75, 96, device=device).to(dtype)
    return largest(invariant_linear(left, right, None)[66:67], invariant_linear(left[66:67], right, None))


def sampling_gap(device: torch.device, dtype: torch.dtype) -> float:
    """The gap of the log-normaliser; infinite where a token differs from the sampler's."""
    rows, vocab = 8, 5001
    logits = (torch.randn(rows, vocab, device=device) * 3).to(dtype)
    keys = torch.arange(1, rows + 1, device=device) * 7919
    positions, rollouts = torch.arange(rows, device=device), torch.arange(rows, device=device)
    tokens, log_totals, finite = draw_on_device(logits, rollouts, keys, positions, temperature=1.0)
    whole = logits.float()
    own = draw_tokens(whole.clone(), Sampling(8, ()), uniforms(keys, positions), workspace(whole))
    if tokens.tolist() != own.tokens.tolist() or not bool(finite.all()):
        return float("inf")
    return largest(log_totals, own.log_total)
