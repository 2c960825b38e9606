"""Drawing tokens in two kernels: sums of blocks of the vocabulary, then the block and token that the number falls in.

The method and the numbers are those of `train/rollout/sampler.py` and `counter.py`, and so are the tokens. The logits
are read once, in their own type, and never copied to float32 in memory: at 1,024 rows of 152k tokens in bfloat16 that
is 0.3 GB of traffic a step instead of several times 0.6.
"""

import torch
import triton
import triton.language as tl

from train.rollout.triton_kernels import padded

WIDTH = 256  # tokens a block, as in sampler.py
_BLOCKS = 8  # blocks of one program


@triton.jit
def _scaled(logits, softcap, temperature, SOFTCAP: tl.constexpr, SCALES: tl.constexpr):
    """The logits as the sampler takes them."""
    logits = logits.to(tl.float32)
    if SOFTCAP:
        logits = softcap * (2.0 / (1.0 + tl.exp(-2.0 * logits / softcap)) - 1.0)
    return tl.div_rn(logits, temperature) if SCALES else logits


@triton.jit
def block_sums_kernel(
    logits,
    tops,
    sums,
    softcap,
    temperature,
    row_stride,
    blocks,
    vocab,
    WIDTH: tl.constexpr,
    BLOCKS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALES: tl.constexpr,
):
    """Program (row, group of blocks): the maximum of each block, and the sum of exp(logit - maximum)."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    token = block[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = token < vocab
    numbers = tl.load(logits + row * row_stride + token, mask=inside, other=0.0)
    numbers = tl.where(inside, _scaled(numbers, softcap, temperature, SOFTCAP, SCALES), float("-inf"))
    top = tl.max(numbers, 1)
    base = tl.where(top == float("-inf"), 0.0, top)  # a block that is ruled out whole sums to 0, not to NaN
    total = tl.sum(tl.exp(numbers - base[:, None]), 1)
    tl.store(tops + row * blocks + block, top, mask=block < blocks)
    tl.store(sums + row * blocks + block, total, mask=block < blocks)


@triton.jit
def _uniform(key, position):
    """splitmix64's output number `position` under `key`, in [0, 1): see counter.py."""
    value = key.to(tl.uint64, bitcast=True) + (position.to(tl.uint64) + 1) * 0x9E3779B97F4A7C15
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB
    value = value ^ (value >> 31)
    return (value >> 11).to(tl.float64) * (2.0**-53)


@triton.jit
def pick_kernel(
    logits,
    tops,
    sums,
    rollouts,
    keys,
    positions,
    tokens,
    log_totals,
    finite,
    softcap,
    temperature,
    row_stride,
    blocks,
    vocab,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALES: tl.constexpr,
    GREEDY: tl.constexpr,
):
    """One program a row. `keys` and `positions` are by rollout."""
    row = tl.program_id(0).to(tl.int64)
    rollout = tl.load(rollouts + row)
    at = tl.arange(0, BLOCK)
    top = tl.load(tops + row * blocks + at, mask=at < blocks, other=float("-inf"))
    total = tl.load(sums + row * blocks + at, mask=at < blocks, other=0.0)
    highest = tl.max(top, 0)
    mass = (total * tl.exp(top - highest)).to(tl.float64)
    whole = tl.sum(mass, 0)
    tl.store(log_totals + row, (tl.log(whole) + highest.to(tl.float64)).to(tl.float32))
    tl.store(finite + row, (whole == whole) & (whole < float("inf")))
    inner = tl.arange(0, WIDTH)
    if GREEDY:
        block = tl.min(tl.where(top == highest, at, BLOCK), 0)
        block = tl.minimum(block, blocks - 1)
        token = block * WIDTH + inner
        numbers = tl.load(logits + row * row_stride + token, mask=token < vocab, other=0.0)
        numbers = _scaled(numbers, softcap, temperature, SOFTCAP, SCALES)
        offset = tl.min(tl.where((token < vocab) & (numbers == highest), inner, WIDTH - 1), 0)
    else:
        edges = tl.cumsum(mass, 0)
        whole = tl.max(edges, 0)
        # sampler.py takes the number below `whole`; nothing but a number that rounds to it is met by this bound
        target = tl.minimum(_uniform(tl.load(keys + rollout), tl.load(positions + rollout)) * whole,
                            whole * (1.0 - 2.0**-53))  # fmt: skip
        block = tl.sum((edges <= target).to(tl.int32), 0)
        block = tl.minimum(block, blocks - 1)
        own = tl.sum(tl.where(at == block, mass, 0.0), 0)
        below = tl.sum(tl.where(at == block, edges, 0.0), 0) - own
        fraction = tl.minimum(tl.maximum((target - below) / own, 0.0), 1.0 - 2.0**-40)
        token = block * WIDTH + inner
        numbers = tl.load(logits + row * row_stride + token, mask=token < vocab, other=0.0)
        numbers = _scaled(numbers, softcap, temperature, SOFTCAP, SCALES)
        weight = tl.where(token < vocab, tl.exp(numbers - highest), 0.0).to(tl.float64)
        passed = tl.cumsum(weight, 0)
        offset = tl.sum((passed <= fraction * tl.max(passed, 0)).to(tl.int32), 0)
    tl.store(tokens + row, tl.minimum(block * WIDTH + offset, vocab - 1).to(tl.int64))


def draw_on_device(
    logits: torch.Tensor,
    rollouts: torch.Tensor,
    keys: torch.Tensor,
    positions: torch.Tensor,
    *,
    temperature: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw a token for each row of `logits` (rows, vocab), from the whole distribution; greedily at temperature 0.

    `rollouts` (rows,) say which of `keys` and `positions` (both int64, by rollout) a row has. Returns tokens (rows,)
    int64, the log of the sum of exp(scaled logits) (rows,) float32, and whether that sum is finite (rows,) bool.
    """
    rows, vocab = logits.shape
    blocks = -(-vocab // WIDTH)
    tops = torch.empty(rows, blocks, dtype=torch.float32, device=logits.device)
    sums = torch.empty_like(tops)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    log_totals = torch.empty(rows, dtype=torch.float32, device=logits.device)
    finite = torch.empty(rows, dtype=torch.bool, device=logits.device)
    scales = temperature not in (0.0, 1.0)
    block_sums_kernel[(rows, -(-blocks // _BLOCKS))](
        logits,
        tops,
        sums,
        softcap or 0.0,
        temperature,
        logits.stride(0),
        blocks,
        vocab,
        WIDTH=WIDTH,
        BLOCKS=_BLOCKS,
        SOFTCAP=softcap is not None,
        SCALES=scales,
        num_warps=4,
    )
    pick_kernel[(rows,)](
        logits,
        tops,
        sums,
        rollouts,
        keys,
        positions,
        tokens,
        log_totals,
        finite,
        softcap or 0.0,
        temperature,
        logits.stride(0),
        blocks,
        vocab,
        WIDTH=WIDTH,
        BLOCK=padded(blocks),
        SOFTCAP=softcap is not None,
        SCALES=scales,
        GREEDY=temperature == 0,
        num_warps=8,  # 4 spill 8 bytes on sm_90, as Triton 3.6 compiles
    )
    return tokens, log_totals, finite
