"""The key-value pool that a block table points into: per layer, pages of tokens, as `varlen_attn` reads them."""

from collections.abc import Sequence

import torch

from train.rollout.dense.pool import LayerShape

PAGE_TOKENS = 16  # of our own kernels: a row wastes 8 tokens on average, and prompts share all but the last few tokens
# Flash attention 2, which torch brings, refuses a page size that is not a multiple of 256.
FLASH_PAGE_TOKENS = 256

SCRATCH_PAGE = 0  # where rows that are padding, or that have ended, write what nobody reads


class PagedPool:
    """`count` pages of `page_tokens` tokens for every layer; page SCRATCH_PAGE belongs to nobody.

    Keys are kept in the type of the values: under autocast rotated keys are float32, and flash attention takes
    keys, values and queries of one half-precision type only.
    """

    def __init__(self, layers: Sequence[LayerShape], count: int, page_tokens: int, device: torch.device) -> None:
        self.layers = list(layers)
        self.count = count
        self.page_tokens = page_tokens
        shape = (count, page_tokens)
        self.keys = [torch.zeros(*shape, s.heads, s.key_dim, dtype=s.value_dtype, device=device) for s in layers]
        self.values = [torch.zeros(*shape, s.heads, s.value_dim, dtype=s.value_dtype, device=device) for s in layers]

    @property
    def bytes(self) -> int:
        """Of all pages."""
        return self.count * page_bytes(self.layers, self.page_tokens)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        """Store `keys` and `values` (tokens, heads, dim) at `slots` (tokens,): page * page_tokens + offset."""
        for pool, new in ((self.keys[layer], keys), (self.values[layer], values)):
            pool.view(-1, *pool.shape[2:]).index_copy_(0, slots, new.to(pool.dtype))

    def copy(self, sources: torch.Tensor, destinations: torch.Tensor) -> None:
        """Copy whole pages in every layer; all sources are read before any destination is written."""
        for pool in (*self.keys, *self.values):
            pool.index_copy_(0, destinations, pool.index_select(0, sources))

    def clear(self) -> None:
        """Zero every page: a NaN left in a page would pass through a masked product (0 * NaN)."""
        for pool in (*self.keys, *self.values):
            pool.zero_()


def page_bytes(layers: Sequence[LayerShape], page_tokens: int) -> int:
    """Bytes that one page takes over all layers."""
    return page_tokens * sum(s.heads * (s.key_dim + s.value_dim) * s.value_dtype.itemsize for s in layers)
