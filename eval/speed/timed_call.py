"""Seconds, tokens and memory of one call of a rollout engine."""

import resource
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from train.rollout.interface import Rollout, Sampling


def measure(
    name: str, backend: Any, prompts: list[list[int]], samples: int, sampling: Sampling
) -> tuple[dict[str, Any], list[Rollout]]:
    """Seconds and tokens of one call, after a short warm-up on other prompts of the same lengths."""
    backend.generate(
        [prompt[::-1] for prompt in prompts], samples, Sampling(max_new_tokens=4, stop_ids=sampling.stop_ids)
    )
    started, processor_started, machine_started = time.perf_counter(), processor_time(), machine_time()
    rollouts = backend.generate(prompts, samples, sampling)
    seconds, processor_seconds = time.perf_counter() - started, processor_time() - processor_started
    others = max(0.0, machine_time() - machine_started - processor_seconds)
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    row = {
        "engine": name,
        "rows": len(rollouts),
        "tokens": tokens,
        "seconds": seconds,
        "processor_seconds": processor_seconds,  # with one thread, the figure to trust on a machine that others use
        "busy_processors": others / seconds,  # that other work on the machine kept busy meanwhile
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    return row, rollouts


def processor_time() -> float:
    """Processor seconds that this process and those that it started have used."""
    times = [process.cpu_times() for process in tree()]
    return sum(used.user + used.system for used in times)


def machine_time() -> float:
    """Processor seconds that all work on this machine has used, or that its host has given to others."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def tree() -> list[psutil.Process]:
    """This process and those that it started, and they in turn."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def peak_memory(process: psutil.Process) -> int:
    """The most resident memory that `process` ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
