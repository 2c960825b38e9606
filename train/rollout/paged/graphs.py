"""Captured steps: captured at the first use of a size, replayed while the model stays as it was."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

_MOVES_ALLOWED = 3  # calls in a row with a new fingerprint, after which capturing is not worth its time

Step = Callable[[], None]


class Graph(Protocol):
    """A captured step."""

    def replay(self) -> None:
        """Run it on the values that its inputs hold now."""
        ...


class Captures(Protocol):
    """The source of captured graphs: see `Forward` (forwards.py)."""

    def fingerprint(self) -> Any:
        """Equal for two calls if a graph captured in one is right in the other."""
        ...

    def why_not_capturable(self) -> str | None:
        """Why no graph can be right, or None."""
        ...


class NotCapturable(RuntimeError):
    """A step that cannot be captured; the message says why."""


# Captures a step, sharing the memory of the graph given beside it. Runs the step to warm up. Raises NotCapturable.
Capture = Callable[[Step, Any], Graph]


def buckets(most: int) -> list[int]:
    """Sizes up to `most`: powers of two and the middle between each two, so that at most a third is padding."""
    sizes = {size for power in range(most.bit_length()) for size in (1 << power, 3 << power >> 1)}
    return sorted(size for size in sizes | {most} if size <= most)


def power_of_two(count: int) -> int:
    """The smallest power of two that is not less than `count`."""
    return 1 << (count - 1).bit_length()


class StepGraphs:
    """Graphs by key. `refusal` says why steps run eagerly, where they do."""

    def __init__(self, capture: Capture | None, device: torch.device) -> None:
        self.captured = 0
        self.refusal: str | None = "they are turned off" if capture is None else None
        self._capture = capture
        self._device = device
        self._fingerprint: Any = None
        self._graphs: dict[Hashable, Graph] = {}
        self._moves = 0

    def validate(self, forward: Captures) -> None:
        """Forget the graphs if they no longer fit `forward`, which from here to the last replay must not change."""
        if self.refusal is not None:
            return
        reason = forward.why_not_capturable()
        if reason is not None:
            self._refuse(reason)
            return
        fingerprint = forward.fingerprint()
        if fingerprint == self._fingerprint:
            self._moves = 0
            return
        self._moves += self._fingerprint is not None
        self._fingerprint = fingerprint
        self.forget()
        if self._moves >= _MOVES_ALLOWED:
            self._refuse(f"weights, adapters, hooks or autocast had changed at each of the last {self._moves} calls")

    def wants(self, key: Hashable) -> bool:
        """Whether the step under `key` is still to be captured."""
        return self.refusal is None and key not in self._graphs

    def capture(self, key: Hashable, step: Step) -> None:
        """Capture `step` under `key`, or refuse from now on. It runs to warm up, which must do no harm."""
        assert self._capture is not None

        def casting_step() -> None:
            # A weight's cast that autocast has cached is not captured: replays would read weights of long ago. And a
            # cast that is captured has no value before the first replay. `cache_enabled=False` around the step is not
            # enough, since the autocast that accelerate puts into the model's forward turns it on again.
            torch.clear_autocast_cache()
            step()
            torch.clear_autocast_cache()

        try:
            self._graphs[key] = self._capture(casting_step, next(iter(self._graphs.values()), None))
            self.captured += 1
        except NotCapturable as error:
            self._refuse(str(error))

    def replay(self, key: Hashable) -> bool:
        """Run the step captured under `key` on the values that its inputs hold now; False where there is none."""
        if key not in self._graphs:
            return False
        self._graphs[key].replay()
        return True

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        self.forget()
        warnings.warn(f"The rollout engine decodes without CUDA graphs: {reason}.", stacklevel=3)

    def forget(self) -> None:
        """Drop every graph, once the device is done with it."""
        if self._graphs and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the last replay may still run
        self._graphs.clear()


class CudaCapture:
    """Captures steps on one stream, since each stream that multiplies matrices keeps a workspace of its own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # capturing is not allowed on the default stream

    def __call__(self, step: Step, neighbour: torch.cuda.CUDAGraph | None) -> torch.cuda.CUDAGraph:
        """See `Capture`. Raises NotCapturable where `step` makes the host wait for the device.

        Graphs may share memory because replays never overlap, and a step leaves its results outside of that memory.
        """
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()  # libraries choose algorithms and take their workspaces
            _run_without_waiting(step)
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        memory = None if neighbour is None else neighbour.pool()
        # "thread_local": other threads (a data loader pinning memory, NCCL's watchdog) must not break the capture.
        with torch.cuda.graph(graph, pool=memory, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return graph


def _run_without_waiting(step: Step) -> None:
    """Run `step` where torch raises an error if the host waits for the device, which no capture survives."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        if "synchronizing" not in str(error):
            raise
        raise NotCapturable("the model makes the host wait for the device in every step") from error
    finally:
        torch.cuda.set_sync_debug_mode(mode)
