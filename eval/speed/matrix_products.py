"""The least time that a model's matrix products take: the limit of a decode step."""

import time
from dataclasses import dataclass

import torch

from train.rollout.dense.packed import packed_bytes, packed_linears


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
