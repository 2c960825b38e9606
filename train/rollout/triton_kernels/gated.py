"""The gated activation of a feed-forward layer, as one kernel: act(gate) * up, from one product that holds both."""

import torch
import triton
import triton.language as tl


@triton.jit
def gated_kernel(projected, output, WIDTH: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    """One program for BLOCK numbers of a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    gate = tl.load(projected + row * 2 * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(projected + row * 2 * WIDTH + WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    # gelu's tanh form is x * sigmoid(2u): 1 + tanh(u) = 2 sigmoid(2u), which loses nothing near 0.
    slope = 2.0 * 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate) if GELU else gate
    active = gate / (1.0 + tl.exp(-slope))
    active = active.to(output.dtype.element_ty).to(tl.float32)
    tl.store(output + row * WIDTH + at, (active * up).to(output.dtype.element_ty), mask=inside)


def gated(projected: torch.Tensor, *, gelu: bool) -> torch.Tensor:
    """`projected` (rows, 2 * width), gate then up -> (rows, width). SiLU, or the tanh form of GELU."""
    rows, width = projected.shape[0], projected.shape[1] // 2
    output = torch.empty(rows, width, dtype=projected.dtype, device=projected.device)
    block = 1024
    gated_kernel[(rows, -(-width // block))](projected, output, WIDTH=width, BLOCK=block, GELU=gelu, num_warps=4)
    return output
