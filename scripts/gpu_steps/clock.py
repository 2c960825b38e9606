"""Times on the device, how much of the call is left, and what the device does at best."""

import time
from collections.abc import Callable
from typing import Any

import torch

BYTES_PER_SECOND = "copy_bytes_per_second"


class Clock:
    """Times on `device`; the call ends `limit` seconds from now."""

    def __init__(self, device: torch.device, limit: float) -> None:
        self.device = device
        self.on_card = device.type == "cuda"
        self._ends = time.monotonic() + limit

    @property
    def remaining(self) -> float:
        """Seconds."""
        return self._ends - time.monotonic()

    def median_ms(self, work: Callable[[], Any], times: int) -> float:
        """The median of `times` runs of `work`, after two to warm up, in milliseconds."""
        samples = []
        for number in range(times + 2):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if number > 1:
                samples.append((time.perf_counter() - start) * 1e3)
        return sorted(samples)[len(samples) // 2]

    def wait(self) -> None:
        """Until the device is done."""
        if self.on_card:
            torch.cuda.synchronize(self.device)


def card(clock: Clock) -> dict[str, Any]:
    """The device's best rates: bytes copied and products multiplied a second."""
    block = torch.empty(2**30 if clock.on_card else 2**22, dtype=torch.uint8, device=clock.device)
    other = torch.empty_like(block)
    size = 8192 if clock.on_card else 128
    dtype = torch.bfloat16 if clock.on_card else torch.float32
    square = torch.randn(size, size, device=clock.device).to(dtype)
    copy, product = clock.median_ms(lambda: other.copy_(block), 10), clock.median_ms(lambda: square @ square, 10)
    return {
        "name": torch.cuda.get_device_name() if clock.on_card else "cpu",
        "torch": torch.__version__,
        BYTES_PER_SECOND: 2e3 * block.numel() / copy,  # read and written
        "flops_per_second": 2e3 * size**3 / product,
    }
