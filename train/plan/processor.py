"""This machine's processor, measured for a few seconds: how fast it multiplies and moves bytes, and nothing else.

Processor time is measured, and with one thread, so that other programs disturb it least.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import log

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from train.plan.counting import AGAIN, Product, Work, bytes_read
from train.rollout.dense.packed import Packed
from train.rollout.dense.pool import BLOCK_SIZE, LayerShape
from train.rollout.native.attention import runs_natively

SECONDS = 5.0  # that a probe takes
# Measured beside the probe, on the scratch model and SmolLM2-135M: what a call from within a model's modules takes with
# all of the Python around it, in terms of a call that does next to nothing; the share of its speed that a product has
# left between others, which push its factors out of the caches; and the share of the bandwidth at which attention reads
# the key-value cache: with torch's operators, one small product a block and head, and with the compiled kernel.
MODULE_CALL, PRODUCT_SHARE, CACHE_SHARE, NATIVE_CACHE_SHARE = 3.2, 0.88, 0.30, 0.90
SIZES = [2**exponent for exponent in (14, 17, 20, 23, 25, 27)]  # bytes of the tensors that are moved
_RUNS, _LEAST = 3, 0.005  # runs of everything that is timed, and the seconds that they take at least
_LARGEST = 4e9  # additions and multiplications of a product that is timed
_CACHE_BYTES, _MOST_COPIES = 192 << 20, 48  # of weights that a product is timed with, one after another
_LEAST_PRODUCTS = 8  # that are timed however long it takes
_FRESH_BYTES = 32 << 20  # of a tensor whose memory the system hands out anew each time (train.rollout.memory)
_SMALLEST_PACKED = 1 << 16  # elements of a weight, as in train.rollout.dense.packed


@dataclass(slots=True)
class Processor:
    """A processor as the probe found it. Rates are bytes/s by the size of the tensor, products/s by their shape."""

    memory: float
    threads: int
    call: float  # seconds of a call that does next to nothing
    plain: list[float] = field(default_factory=list)  # bytes/s at SIZES, into fresh memory
    series: list[float] = field(default_factory=list)  # the same, of a transcendental function
    products: dict[tuple[Product, bool], float] = field(default_factory=dict)  # seconds of one
    name: str = "cpu"
    is_gpu: bool = False

    def seconds(self, work: Work, *, captured: bool = False) -> float:
        """How long `work` takes; `captured` says that it is a step of the engine, which has packed the weights."""
        total = work.calls * MODULE_CALL * self.call
        for product, count in work.products.items():
            total += count * self.product(product, packed=captured) / PRODUCT_SHARE
        for (size, is_series), moved in work.moved.items():
            total += moved / _between(SIZES, self.series if is_series else self.plain, size)
        return total + work.attention_flops / self.attention_rate

    @property
    def attention_rate(self) -> float:
        """FLOP/s in attention, forward and backward: its products are small, and there are exponentials between them.

        Of the fastest product's rate 0.33 (heads of 32, 221 tokens) to 0.50 (heads of 64, 400 tokens) were measured.
        """
        return 0.38 * max(2 * m * k * n / seconds for ((m, k, n, _), _), seconds in self.products.items())

    def read_seconds(self, count: float) -> float:
        """How long it takes to read `count` bytes, a few MiB at a time."""
        return count / self.plain[SIZES.index(2**23)]

    def cache_seconds(
        self, layers: Sequence[LayerShape], rows: np.ndarray, cached: np.ndarray, again: np.ndarray
    ) -> np.ndarray:
        """Seconds of attention over the cache in the steps of a `Schedule`, (steps,) each."""
        if runs_natively(layers, torch.device("cpu")):
            return self.read_seconds(1 / NATIVE_CACHE_SHARE) * bytes_read(layers, rows, cached + AGAIN * again)
        # A shared prompt is read once for all, and the last block of a row, half full, whole.
        whole = cached + rows * (BLOCK_SIZE // 2)
        return self.read_seconds(1 / CACHE_SHARE) * bytes_read(layers, rows, whole)

    def product(self, product: Product, *, packed: bool) -> float:
        """Seconds of one product; a shape that was not measured gets the rate of the most similar one."""
        m, k, n, _ = product
        packed = packed and _is_packed(product)
        if (product, packed) in self.products:
            return self.products[product, packed]
        alike = [(shape, seconds) for (shape, how), seconds in self.products.items() if how == packed]
        alike = alike or [(shape, seconds) for (shape, _), seconds in self.products.items()]

        def distance(other: Product) -> float:
            return sum(abs(log(mine / its)) for mine, its in zip((m, k, n), other[:3], strict=True))

        (a, b, c, _), seconds = min(alike, key=lambda pair: distance(pair[0]))
        return seconds * (m * k * n) / (a * b * c)


def probe(works: Iterable[tuple[Work, bool]], seconds: float = SECONDS) -> Processor:
    """Measure this machine, its products at the shapes that matter most in `works`, each with whether it is decode."""
    free = psutil.virtual_memory()
    processor = Processor(memory=float(free.total), threads=torch.get_num_threads(), call=0.0)
    shapes = _shapes(works)
    deadline = time.monotonic() + seconds
    small = torch.zeros(8)
    processor.call = _timed(lambda: [small + 1 for _ in range(2000)]) / 2000
    for size in SIZES:
        processor.plain.append(3 * size / _moving_seconds(size, torch.mul, 2))
        processor.series.append(2 * size / _moving_seconds(size, torch.sigmoid, 1))
    for product, packed in shapes:
        if time.monotonic() > deadline and len(processor.products) >= _LEAST_PRODUCTS:
            break
        processor.products[product, packed] = _product_seconds(product, packed)
    return processor


def _moving_seconds(size: int, operation: Callable[..., object], factors: int) -> float:
    """Seconds of an operation on tensors of `size` bytes: on the newest tensor and on an old one, into another.

    The operation must keep its values in range: infinite and denormal numbers take longer.
    """
    if size >= _FRESH_BYTES:
        operands = [torch.ones(size // 4) for _ in range(factors)]
        return _timed(lambda: operation(*operands))
    tensors = [torch.ones(size // 4) for _ in range(min(_MOST_COPIES, _CACHE_BYTES // size))]
    half = len(tensors) // 2

    def move() -> None:
        for place, output in enumerate(tensors):
            operation(*(tensors[place - 1], tensors[place - half])[:factors], out=output)

    return _timed(move) / len(tensors)


def _shapes(works: Iterable[tuple[Work, bool]]) -> list[tuple[Product, bool]]:
    """The shapes that most arithmetic goes into, each with whether its weight is packed, largest share first."""
    shares: dict[tuple[Product, bool], float] = {}
    for work, decode in works:
        total = sum(2.0 * m * k * n * count for (m, k, n, _), count in work.products.items()) or 1.0
        for product, count in work.products.items():
            m, k, n, _ = product
            key = (_shorter(product), decode and _is_packed(product))
            shares[key] = shares.get(key, 0.0) + 2.0 * m * k * n * count / total
    return sorted(shares, key=lambda key: -shares[key])


def _is_packed(product: Product) -> bool:
    """Whether the engine packs the weight of such a product."""
    _, k, n, dtype = product
    return k * n >= _SMALLEST_PACKED and dtype == torch.float32


def _shorter(product: Product) -> Product:
    """A product as fast as `product`, but short enough to be timed."""
    m, k, n, dtype = product
    while 2 * m * k * n > _LARGEST:
        m, n = (m // 2, n) if m > n else (m, n // 2)
    return m, k, n, dtype


def _product_seconds(product: Product, packed: bool) -> float:
    """Seconds of one product with a weight outside the processor's cache, as after all the other weights of a step."""
    m, k, n, dtype = product
    copies = min(_MOST_COPIES, _CACHE_BYTES // (k * n * dtype.itemsize), int(_LARGEST / (2 * m * k * n)))
    copies = max(1, copies)
    left, weights = torch.ones(m, k, dtype=dtype), [torch.ones(n, k, dtype=dtype) for _ in range(copies)]
    products: list[Callable[[torch.Tensor], torch.Tensor]]
    if packed:
        products = [Packed(weight).forward(None) for weight in weights]
    else:
        products = [partial(nn.functional.linear, weight=weight) for weight in weights]

    def multiply() -> None:
        for product in products:
            product(left)

    return _timed(multiply) / copies


def _timed(work: Callable[[], object]) -> float:
    """Mean processor seconds of a run on one thread, after one to warm up: the mean, since a step takes that."""
    work()
    start, runs = time.process_time(), 0
    while runs < _RUNS or time.process_time() - start < _LEAST:
        work()
        runs += 1
    return (time.process_time() - start) / runs / torch.get_num_threads()


def _between(places: list[int], values: list[float], at: float) -> float:
    """The value at `at`, between the two places next to it on a logarithmic scale."""
    index = bisect_left(places, at)
    if index == 0 or index == len(places):
        return values[min(index, len(values) - 1)]
    low, high = places[index - 1], places[index]
    share = (log(at) - log(low)) / (log(high) - log(low))
    return values[index - 1] * (1 - share) + values[index] * share
