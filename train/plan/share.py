"""A run on several GPUs: the part of the model on each, and the bytes sent between them in a step.

Data parallel, each GPU holds all of the model, and gradients are summed once a step. Under FSDP2 each holds its part of
weights and moments, beside the whole copy that rollouts are sampled from (`train.distributed.sharding`); layers are
gathered for each forward and backward. accelerate sums gradients there once a step too, so where a step has several
micro-batches they lie whole on every GPU until its end: only with one do they shrink.
"""

from dataclasses import dataclass, replace

from train.plan.costs import Costs
from train.plan.devices import Gpu
from train.plan.workload import Workload

NODE = 8  # GPUs that are linked directly
# The share of its bandwidth that a collective gets, which is assumed to hide behind no computation.
LINK_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Share:
    """`processes` with a GPU each, that hold the model whole or `sharded`."""

    processes: int = 1
    sharded: bool = False

    @property
    def name(self) -> str:
        """The kind of launch."""
        return "alone" if self.processes == 1 else "FSDP2" if self.sharded else "DDP"

    @property
    def part(self) -> float:
        """The share of weights and moments that each process keeps."""
        return 1 / self.processes if self.sharded else 1.0


ALONE = Share()


def always_held(costs: Costs, share: Share) -> dict[str, float]:
    """Bytes that each process keeps throughout."""
    sizes = costs.sizes
    memory = {"weights": sizes.weights * share.part, "moments": sizes.moments * share.part}
    if share.sharded:
        memory["whole copy"] = copy_bytes(costs)
    elif share.processes > 1:
        memory["buckets"] = sizes.gradients  # in which DDP sums them
    return memory


def gradients_in_loss(costs: Costs, share: Share, whole: float) -> dict[str, float]:
    """Bytes of gradients, of which one process alone has `whole` at the worst moment, and of gathered weights."""
    if not share.sharded:
        return {"gradients": whole}
    size = costs.sizes
    outside = copy_bytes(costs) * (1 - size.layers / size.total)  # embeddings and head stay gathered
    layer = copy_bytes(costs) * size.layers / size.total / costs.depth
    summed = size.gradients * share.part
    return {
        "gradients": max(whole, summed) if costs.work.micro_batches > 1 else summed + 2 * layer,
        "gathered weights": outside + 2 * layer,
    }


def copy_bytes(costs: Costs) -> float:
    """Bytes of all weights in the type that forwards compute in."""
    return float(costs.sizes.total * (2 if costs.work.bf16 else costs.run.dtype.itemsize))


def communicated(costs: Costs, share: Share) -> float:
    """Bytes that each GPU sends in a step, by rings: a sum of b bytes takes 2 b (n - 1) / n, a gathering half of it."""
    gradients = costs.sizes.gradients
    # Sharded, weights are gathered for each forward and backward, and for the rollouts; else summed gradients are.
    traffic = (2 * costs.work.micro_batches + 1) * copy_bytes(costs) if share.sharded else gradients
    return (traffic + gradients) * (share.processes - 1) / share.processes


def communication_seconds(costs: Costs, gpu: Gpu, share: Share) -> float:
    """Seconds of it in a step; past one node the network between them sets the pace."""
    bandwidth = gpu.link if share.processes <= NODE else gpu.network
    return communicated(costs, share) / (bandwidth * LINK_SHARE)


def shared_out(work: Workload, rollouts: int, processes: int) -> Workload:
    """The work of each process where `rollouts` a step are divided, in whole groups, and at least one for each."""
    own = max(work.samples, -(-rollouts // (processes * work.samples)) * work.samples)
    rows = next(rows for rows in range(min(work.rows, own), 0, -1) if own % rows == 0)
    return replace(work, rows=rows, micro_batches=own // rows)
