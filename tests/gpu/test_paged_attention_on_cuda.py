"""Flash attention through a block table against the same in plain torch."""

import pytest
import torch

from train.rollout.dense.pool import LayerShape
from train.rollout.paged.attention import Sequences, gathered_attention, kernel_for, takes_pages, varlen_attention
from train.rollout.paged.pool import FLASH_PAGE_TOKENS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    pytest.mark.skipif(not takes_pages(), reason="this torch's varlen_attn takes no block table"),
]

DEVICE = torch.device("cuda", 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (9, 3), (8, 1)])
@pytest.mark.parametrize("dim", [16, 64, 96, 128, 256])
@pytest.mark.parametrize("window", [None, 1, 200])
@pytest.mark.parametrize("decoding", [True, False])
def test_varlen_attention_equals_gathered_pages(
    dtype: torch.dtype, heads: int, key_heads: int, dim: int, window: int | None, decoding: bool
) -> None:
    generator = torch.Generator(DEVICE).manual_seed(dim)
    lengths = [1, 255, 256, 257, 700]
    counts = [1] * 5 if decoding else [1, 200, 1, 257, 100]
    width = 4  # pages: one more than the longest needs
    pool = [
        torch.randn(30, FLASH_PAGE_TOKENS, key_heads, dim, device=DEVICE, generator=generator).to(dtype)
        for _ in range(2)
    ]
    table = torch.randperm(30, device=DEVICE, generator=generator)[: 5 * width].view(5, width).int()
    starts = torch.tensor([0, *counts], device=DEVICE).cumsum(0).int()
    sequences = Sequences(
        table,
        torch.tensor(lengths, dtype=torch.int32, device=DEVICE),
        starts,
        torch.arange(6, dtype=torch.int32, device=DEVICE) * (width * FLASH_PAGE_TOKENS),
        None if decoding else counts,
    )
    queries = torch.randn(sum(counts), heads, dim, device=DEVICE, generator=generator).to(dtype)
    found = varlen_attention(queries, *pool, sequences, dim**-0.5, window)
    exact = gathered_attention(queries.float(), *(p.float() for p in pool), sequences, dim**-0.5, window)
    torch.testing.assert_close(found.float(), exact, atol=2e-2, rtol=2e-2)


def test_flash_attention_is_chosen_for_half_precision_alone() -> None:
    shape = LayerShape(2, 64, 64, torch.bfloat16, torch.bfloat16, None)
    assert kernel_for(shape, FLASH_PAGE_TOKENS, DEVICE) is varlen_attention
    exact = LayerShape(2, 64, 64, torch.float32, torch.float32, None)
    assert kernel_for(exact, FLASH_PAGE_TOKENS, DEVICE) is gathered_attention
    assert kernel_for(shape, 16, DEVICE) is gathered_attention
