"""Whether a run fits on a number of GPUs, with the whole model or a part on each, and what to change if not."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from train.plan.costs import Costs
from train.plan.devices import GIB, Gpu
from train.plan.share import ALONE, Share, shared_out
from train.plan.step_plan import ROOM, Cache, Device, Memory, Times, plan_cache, plan_memory, plan_times


@dataclass(frozen=True, slots=True)
class Outlook:
    """The memory of one process, and the time of its steps."""

    share: Share
    costs: Costs
    memory: Memory
    times: Times
    fits: bool

    @property
    def rollouts(self) -> int:
        """Rollouts of a step, over all processes."""
        return self.costs.work.rollouts * self.share.processes

    @property
    def seconds(self) -> float:
        """Seconds of all steps."""
        return self.costs.work.steps * self.times.step


def look_at(costs: Costs, device: Device, share: Share) -> Outlook:
    """The outlook of `costs`, which are those of one process."""
    cache = plan_cache(costs, device, share)
    memory = plan_memory(costs, device, cache, share=share)
    fits = memory.peak <= ROOM * device.memory and cache.rows > 0
    return Outlook(share, costs, memory, plan_times(costs, device, cache, share), fits)


def look_further(costs: Costs, gpu: Gpu, rollouts: int, counts: Sequence[int]) -> list[Outlook]:
    """A step of `rollouts` divided over each number of GPUs, with the model whole on each, and in parts."""
    return [
        look_at(costs.altered(shared_out(costs.work, rollouts, processes)), gpu, Share(processes, sharded))
        for processes in counts
        for sharded in (False, True)
        if not sharded or (processes > 1 and not costs.run.load_in_4bit)
    ]


@dataclass(frozen=True, slots=True)
class Advice:
    """The largest micro-batches that fit with the `settings`, and what the run costs with both."""

    settings: dict[str, Any]
    share: Share
    costs: Costs


def advise(costs: Costs, device: Device, share: Share = ALONE) -> Advice | None:
    """The smallest change that makes the run fit (an empty one if it fits already); None where nothing helps."""
    for settings, wanted in _changes(costs, device, share):
        variant = costs.altered(**settings) if settings else costs
        cache = plan_cache(variant, device, wanted)
        rows = largest_rows(variant, device, cache, wanted) if cache.rows else 0
        if rows:
            return Advice(settings, wanted, variant.altered(variant.work.with_rows(rows)))
    return None


def largest_rows(costs: Costs, device: Device, cache: Cache, share: Share = ALONE) -> int:
    """The most rows of a micro-batch that fit and divide a step's rollouts; 0 where not even one does."""
    rollouts = costs.work.rollouts
    divisors = [rows for rows in range(1, rollouts + 1) if rollouts % rows == 0]

    def too_large(rows: int) -> bool:
        return plan_memory(costs, device, cache, rows, share).peak > ROOM * device.memory

    fitting = bisect_right(divisors, False, key=too_large)
    return divisors[fitting - 1] if fitting else 0


def _changes(costs: Costs, device: Device, share: Share) -> Iterator[tuple[dict[str, Any], Share]]:
    """Settings to try, each with those before it, from what costs least to what changes the training most."""
    run, work = costs.run, costs.work
    settings: dict[str, Any] = {}
    yield dict(settings), share
    if not work.checkpointing:
        settings["gradient_checkpointing"] = True
        yield dict(settings), share
    for part in (8, 16, 32) if device.is_gpu else ():
        cache_gib = max(1, int(device.memory / GIB / part))
        if run.cache_gib is None or cache_gib < run.cache_gib:
            settings["cache_gib"] = cache_gib
            yield dict(settings), share
    if share.processes > 1 and not share.sharded and not run.load_in_4bit:
        yield dict(settings), Share(share.processes, sharded=True)
    if run.model == "scratch":
        return
    if not run.lora_rank:
        settings["lora_rank"] = 16
        yield dict(settings), share
    if device.is_gpu and run.model_dtype != "bfloat16":
        settings["model_dtype"] = "bfloat16"
        yield dict(settings), share
    if device.is_gpu and not run.load_in_4bit and run.backend != "vllm":
        settings["load_in_4bit"] = True
        yield dict(settings), share
