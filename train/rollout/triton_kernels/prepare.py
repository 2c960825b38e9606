"""The start of a step, as one kernel: where each row's new token goes, and the token's embedding."""

import torch
import triton
import triton.language as tl


@triton.jit
def prepare_kernel(
    rollouts,
    ended,
    cached,
    last,
    table,
    embedding,
    positions,
    slots,
    lengths,
    stream,
    scale,
    table_stride,
    table_width,
    scratch,
    PAGE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (row, part of the hidden size)."""
    row = tl.program_id(0).to(tl.int64)
    rollout = tl.load(rollouts + row)
    if tl.program_id(1) == 0:
        position = tl.load(cached + rollout)
        done = tl.load(ended + rollout) != 0
        column = tl.minimum(position // PAGE, table_width - 1)
        page = tl.load(table + row * table_stride + column).to(tl.int64)
        tl.store(positions + row, position)
        tl.store(slots + row, tl.where(done, scratch * PAGE, page * PAGE + position % PAGE))
        tl.store(lengths + row, tl.where(done, 1, position + 1).to(tl.int32))
    token = tl.load(last + rollout)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    hidden = tl.load(embedding + token * WIDTH + at, mask=at < WIDTH, other=0.0).to(tl.float32) * scale
    tl.store(stream + row * WIDTH + at, hidden.to(stream.dtype.element_ty), mask=at < WIDTH)


def prepare(
    rollouts: torch.Tensor,
    ended: torch.Tensor,
    cached: torch.Tensor,
    last: torch.Tensor,
    table: torch.Tensor,
    embedding: torch.Tensor,
    page_tokens: int,
    scratch_page: int,
    *,
    scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a decode step of `rollouts` (rows,) starts from.

    `ended`, `cached` and `last` are by rollout; `table` (rows, pages) int32; `embedding` (vocab, width), multiplied by
    `scale`. Returns positions (rows,) int64, slots (rows,) int64, lengths (rows,) int32 and hidden states (rows,
    width). Rollouts that have ended write to `scratch_page` and read one token.
    """
    rows, width, device = len(rollouts), embedding.shape[1], embedding.device
    positions = torch.empty(rows, dtype=torch.int64, device=device)
    slots = torch.empty_like(positions)
    lengths = torch.empty(rows, dtype=torch.int32, device=device)
    stream = torch.empty(rows, width, dtype=embedding.dtype, device=device)
    block = 1024
    prepare_kernel[(rows, -(-width // block))](
        rollouts,
        ended,
        cached,
        last,
        table,
        embedding,
        positions,
        slots,
        lengths,
        stream,
        scale,
        table.stride(0),
        table.shape[1],
        scratch_page,
        PAGE=page_tokens,
        WIDTH=width,
        BLOCK=block,
        num_warps=4,
    )
    return positions, slots, lengths, stream
