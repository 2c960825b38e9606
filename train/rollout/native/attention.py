"""Attention of a pass by the compiled kernels: each row reads its blocks where they lie, in order of position."""

from collections.abc import Sequence

import torch

from train.rollout import native
from train.rollout.dense.attention import PassAttention
from train.rollout.dense.passes import Pass
from train.rollout.dense.pool import KeyValuePool, LayerShape


class NativeAttention(PassAttention):
    """`PassAttention` whose writes and decode tokens are one call each; prefill stays torch's."""

    def __init__(self, pool: KeyValuePool, this_pass: Pass) -> None:
        super().__init__(pool, this_pass)
        self._blocks = torch.from_numpy(this_pass.write_blocks)
        self._offsets = torch.from_numpy(this_pass.write_offsets)
        self._lengths = this_pass.positions[: len(this_pass.live)] + 1

    def _write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        pool = self.pool
        torch.ops.rethink.write_cache(keys, values, pool.keys[layer], pool.values[layer], self._blocks, self._offsets)

    def _decode(self, layer: int, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        pool = self.pool
        return torch.ops.rethink.decode_attention(
            queries.float(),
            pool.keys[layer],
            pool.values[layer],
            self.this_pass.table,
            self._lengths,
            scaling,
            pool.layers[layer].window or 0,
        )


def runs_natively(layers: Sequence[LayerShape], device: torch.device) -> bool:
    """Whether the kernels are there for what these layers keep: float32 in main memory."""
    plain = all(shape.key_dtype == shape.value_dtype == torch.float32 for shape in layers)
    return device.type == "cpu" and plain and native.available()
