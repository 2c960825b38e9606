"""One way of running a config: on so many GPUs, each with all of the model or its part."""

from collections.abc import Sequence
from dataclasses import dataclass

from train.plan.costs import Costs
from train.plan.devices import Gpu
from train.plan.share import Share, shared_out
from train.plan.step_plan import ROOM, Device, Memory, Times, plan_cache, plan_memory, plan_times


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one process takes, and how long its steps are."""

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
        """Of all steps."""
        return self.costs.work.steps * self.times.step


def look_at(costs: Costs, device: Device, share: Share) -> Outlook:
    """The outlook of `costs`, which are those of one process."""
    cache = plan_cache(costs, device, share)
    memory = plan_memory(costs, device, cache, share=share)
    fits = memory.peak <= ROOM * device.memory and cache.rows > 0
    return Outlook(share, costs, memory, plan_times(costs, device, cache, share), fits)


def look_further(costs: Costs, gpu: Gpu, rollouts: int, counts: Sequence[int]) -> list[Outlook]:
    """A step of `rollouts` shared out over each number of GPUs, with the model whole on each, and in parts."""
    return [
        look_at(costs.altered(shared_out(costs.work, rollouts, processes)), gpu, Share(processes, sharded))
        for processes in counts
        for sharded in (False, True)
        if not sharded or (processes > 1 and not costs.run.load_in_4bit)
    ]
