"""CUDA graphs of the decode step: captured at a bucket's first use, replayed while what they captured stands still.

A graph is a list of kernels with the addresses that they read. Weights that the optimiser updates in place are read
anew by every replay; weights that moved (FSDP, ZeRO, `model.to`, a loaded checkpoint), another set of adapters or
hooks, or another autocast make it wrong without any error. `fingerprint` tells the two apart before every call.
"""

import warnings
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.distributed.tensor import DTensor

_MOVES_ALLOWED = 3  # calls in a row that found the weights elsewhere, before capturing is given up as a waste


class StepGraphs:
    """Graphs by key, in one memory pool: replays never overlap, and a step leaves its results outside of that pool.

    `refusal` says why steps run eagerly, where they do.
    """

    def __init__(self, device: torch.device, *, allowed: bool) -> None:
        self.captured = 0
        self.refusal: str | None = None
        if not allowed or device.type != "cuda":
            self.refusal = f"there are none on a {device.type}" if allowed else "they are turned off"
        self._device = device
        self._fingerprint: Any = None
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._moves = 0

    def validate(self, model: torch.nn.Module) -> None:
        """Forget the graphs if they no longer fit `model`; no weight may move from here to the last replay."""
        if self.refusal is not None:
            return
        self.refusal = why_not_capturable(model)
        found = fingerprint(model, self._device.type)
        if found == self._fingerprint:
            self._moves = 0
            return
        self._moves += self._fingerprint is not None
        self._fingerprint = found
        self.forget()
        if self._moves >= _MOVES_ALLOWED:
            self.refusal = f"the weights had moved at each of the last {self._moves} calls"
        if self.refusal is not None:
            self._warn()

    def forget(self) -> None:
        """Drop every graph; the next steps are captured anew."""
        if self._graphs:
            torch.cuda.synchronize(self._device)  # the last replay may still run
            self._graphs.clear()

    def wants(self, key: Hashable) -> bool:
        """Whether the step under `key` is still to be captured."""
        return self.refusal is None and key not in self._graphs

    def replay(self, key: Hashable) -> bool:
        """Run the step captured under `key` on the values that its inputs hold now; False where there is none."""
        if key not in self._graphs:
            return False
        self._graphs[key].replay()
        return True

    def capture(self, key: Hashable, step: Callable[[], None]) -> None:
        """Capture `step` under `key`, or set `refusal`. It runs twice to warm up, which must do no harm."""
        stream = torch.cuda.Stream(self._device)  # capturing is not allowed on the default stream
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream), _autocast_without_cache(self._device.type):
            step()  # libraries choose algorithms and take their workspaces
            self.refusal = _why_it_waits(step)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        if self.refusal is not None:
            self._warn()
            return
        memory = next(iter(self._graphs.values())).pool() if self._graphs else None
        graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads (a data loader pinning memory, NCCL's watchdog) must not break the capture.
        capture = torch.cuda.graph(graph, pool=memory, stream=stream, capture_error_mode="thread_local")
        with _autocast_without_cache(self._device.type), capture:
            step()
        self._graphs[key] = graph
        self.captured += 1

    def _warn(self) -> None:
        warnings.warn(f"The rollout engine decodes without CUDA graphs: {self.refusal}.", stacklevel=2)


def _why_it_waits(step: Callable[[], None]) -> str | None:
    """Run `step` where torch raises an error when the host waits for the device, which a capture would not survive."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        if "synchronizing" not in str(error):
            raise
        return f"the model makes the host wait for the device in every step ({str(error).splitlines()[0]})"
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    return None


def _autocast_without_cache(device_type: str) -> torch.autocast:
    """The autocast in force, but casting weights at each use.

    Its cache would hand the graph casts made before the capture: every replay would read weights of long ago.
    """
    return torch.autocast(
        device_type,
        dtype=torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
        cache_enabled=False,
    )


def why_not_capturable(model: torch.nn.Module) -> str | None:
    """Why no graph of `model` can be valid, or None."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor):
            return f"{name} is sharded (a DTensor, as under FSDP2)"
        if not parameter.numel():
            return f"{name} is empty (partitioned, as under ZeRO-3)"
    return None


def fingerprint(model: torch.nn.Module, device_type: str) -> tuple[Any, ...]:
    """What a graph of `model` takes for granted: where the tensors are, and what Python decided at the capture."""
    tensors = [(t.data_ptr(), t.shape, t.stride(), t.dtype) for t in chain(model.parameters(), model.buffers())]
    modules = [
        (id(module), *module._forward_pre_hooks, *module._forward_hooks, id(module.__dict__.get("forward")))
        for module in model.modules()
    ]
    adapters = [
        (tuple(module.active_adapters), tuple(module.merged_adapters), module.disable_adapters)
        for module in model.modules()
        if isinstance(module, BaseTunerLayer)
    ]
    scalings = [tuple(module.scaling.items()) for module in model.modules() if isinstance(module, LoraLayer)]
    autocast = (torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type))
    return tensors, modules, adapters, scalings, autocast
