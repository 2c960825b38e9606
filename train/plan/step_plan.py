"""The plan itself: memory at each phase of a step, and the seconds of each, on one device."""

from dataclasses import dataclass

import numpy as np

from train.plan.costs import Costs
from train.plan.counting import Work
from train.plan.devices import ALLOCATOR_SHARE, CONTEXT, GIB, Gpu
from train.plan.processor import Processor
from train.plan.rollouts import Schedule, schedule
from train.plan.share import ALONE, Share, always_held, communication_seconds, copy_bytes, gradients_in_loss
from train.rollout.dense.dense_steps import MOST_TO_WORK_IN
from train.rollout.limits import HEADROOM, LARGE_POOL, SHARE_FOR_SHADOW, SHARE_OF_FREE
from train.rollout.memory import LARGE_PACKED
from train.rollout.paged.pool import PAGE_TOKENS
from train.rollout_trainer import PARITY_ROLLOUTS

Device = Gpu | Processor

# A process that has imported torch, transformers, trl and peft, and the trainer in it: 0.55 to 0.63 GiB measured.
INTERPRETER = 0.61 * GIB
# What glibc's heap holds beyond the tensors alive between two layers, as a share of what the layers keep: measured on
# SmolLM2-135M after a step or two, when the heap is full of holes. LoRA makes more and smaller tensors.
HEAP_SHARE, HEAP_SHARE_LORA = 0.2, 0.7
HEAP_KEPT = 0.125 * GIB  # of what it frees: between nothing and the most (train.rollout.memory)
# A plan is out by some percent: beyond this share of a device's memory a run is not told that it fits.
ROOM = 0.9


@dataclass(frozen=True, slots=True)
class Cache:
    """The key-value cache: its bytes, and how many rollouts run over it at once."""

    bytes: float
    rows: int
    wanted: float  # bytes with which as many as may would run, or all of them
    packed: float = 0.0  # bytes of a CPU's second copy of the linear weights, while rollouts are sampled
    shadow: float = 0.0  # bytes of a GPU's, laid out for decoding


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of each part at each phase of a step; `phases` is by phase, then by part."""

    phases: dict[str, dict[str, float]]

    @property
    def worst(self) -> str:
        """The phase that takes the most memory."""
        return max(self.phases, key=lambda phase: sum(self.phases[phase].values()))

    @property
    def peak(self) -> float:
        """Bytes at the worst moment."""
        return sum(self.phases[self.worst].values())


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the phases of a step, its tokens, and how many floating-point operations they take."""

    rollouts: float
    loss: float
    update: float
    communication: float  # between processes
    tokens: int  # sampled
    loss_tokens: int  # that go through the loss, prompts among them
    rollout_flops: float
    loss_flops: float
    step_rows: float  # mean rows of a decode step
    bound: str  # what a full decode step waits for

    @property
    def step(self) -> float:
        """Seconds of a whole step."""
        return self.rollouts + self.loss + self.update + self.communication

    @property
    def rollout_rate(self) -> float:
        """Tokens sampled a second, while sampling."""
        return self.tokens / self.rollouts

    @property
    def loss_rate(self) -> float:
        """Tokens trained on a second, while training."""
        return self.loss_tokens / (self.loss + self.update)


def plan_cache(costs: Costs, device: Device, share: Share = ALONE) -> Cache:
    """The cache that the engine would make. Its rows are 0 where not even one rollout fits."""
    work = costs.work
    rows = costs.most_rows
    free = device.memory - (CONTEXT if device.is_gpu else INTERPRETER) - costs.sizes.weights * share.part
    free -= copy_bytes(costs) if share.sharded else 0.0
    limit = costs.run.cache_gib * GIB if costs.run.cache_gib is not None else SHARE_OF_FREE * max(0.0, free)
    if not device.is_gpu:
        packed = costs.sizes.packed if costs.sizes.packed <= limit / 3 else 0.0
        demand = float(schedule(work, rows).peak_cached * costs.token_bytes)
        working = min(float(costs.forward_peak), MOST_TO_WORK_IN * (limit - packed))
        size = min(demand, limit - packed - working)
        return Cache(size, int(rows * size / demand), demand, packed)
    page_bytes = PAGE_TOKENS * costs.token_bytes
    shadow = costs.shadow if costs.shadow <= SHARE_FOR_SHADOW * limit else 0.0
    limit -= shadow if costs.run.cache_gib is not None else SHARE_OF_FREE * shadow  # made before the pool is
    row_pages = -(-(work.prompt + work.most) // PAGE_TOKENS)
    expected = -(-int(work.prompt + min(work.most, HEADROOM * work.mean)) // PAGE_TOKENS)
    pages = max((expected + 1) * rows + work.prompts * work.prompt // PAGE_TOKENS, row_pages + 1) + 1
    step = max(1, (1 << (pages - 1).bit_length()) // 16)
    pages = -(-pages // step) * step
    size = min(pages, int(limit // page_bytes))
    typical = work.mean + PAGE_TOKENS / 2 + work.prompt / work.samples
    running = min(rows, int((size - 1) * PAGE_TOKENS / typical)) if size > row_pages + 1 else 0
    return Cache(size * page_bytes, running, pages * page_bytes, shadow=shadow)


def plan_memory(costs: Costs, device: Device, cache: Cache, rows: int | None = None, share: Share = ALONE) -> Memory:
    """Bytes on one device at each phase, with micro-batches of `rows`, the run's own by default."""
    sizes, loss = costs.sizes, costs.loss(rows)
    gradients = max(0.0, loss.peak - loss.saved - loss.rest - sizes.weights - sizes.saved_by_quantising)
    layers = {
        "activations": float(loss.saved),
        "logits and temporaries": loss.rest + sizes.largest,
        **gradients_in_loss(costs, share, gradients),
    }
    always = always_held(costs, share)
    copies = {"shadow weights": cache.shadow} if device.is_gpu else {}
    if device.is_gpu and cache.bytes <= LARGE_POOL * device.memory:  # else given back, and its graphs with it
        copies |= {"cache": cache.bytes, "graphs": float(costs.forward_peak)}
    second = {"packed weights": cache.packed, "shadow weights": cache.shadow}
    sampling = {"cache": cache.bytes, "sampling": float(costs.forward_peak), **second}
    phases = {
        "rollouts": always | sampling,
        "loss": always | layers | copies,
        "update": always | {"gradients": sizes.gradients * share.part} | copies,
    }
    for parts in phases.values():
        if device.is_gpu:
            parts["allocator"] = ALLOCATOR_SHARE * sum(parts.values())
            parts["CUDA"] = CONTEXT
        else:
            holes = HEAP_SHARE_LORA if costs.run.lora_rank else HEAP_SHARE
            parts["heap"] = holes * parts.get("activations", 0.0)
            parts["interpreter"] = INTERPRETER
    if not device.is_gpu:
        more = sum(phases["loss"].values()) - sum(phases["rollouts"].values())
        left_free = 0.0 if cache.packed > LARGE_PACKED else HEAP_KEPT
        phases["rollouts"]["heap"] += min(left_free, max(0.0, more))
    return Memory({name: {part: size for part, size in parts.items() if size} for name, parts in phases.items()})


def plan_times(costs: Costs, device: Device, cache: Cache, share: Share = ALONE) -> Times:
    """Seconds of a step."""
    work = costs.work
    timeline = schedule(work, max(1, cache.rows))
    steps, reads = decode_steps(costs, device, timeline)
    chunks = work.prompts * work.prompt / costs.prefill.tokens
    parity = PARITY_ROLLOUTS * (work.prompt + work.mean) / costs.parity.tokens
    beside = chunks * device.seconds(costs.prefill.work, captured=True) + parity * device.seconds(costs.parity.work)
    beside += device.read_seconds(2 * cache.packed)
    kv_flops = 4.0 * (timeline.cached + timeline.again).sum() * _attention_width(costs)
    full = costs.decodes[-1]
    sizes = costs.sizes
    return Times(
        rollouts=float(steps.sum() + reads.sum()) + beside,
        loss=costs.of_losses(device.seconds),
        # Seven times a trained weight in float32: itself, two moments, each read and written, and its gradient.
        update=share.part * device.read_seconds(7 * 4 * sizes.trained + 2 * sizes.gradients),
        communication=communication_seconds(costs, device, share) if isinstance(device, Gpu) else 0.0,
        tokens=int(work.completions.sum()),
        loss_tokens=int(work.rollouts * work.prompt + work.completions.sum()),
        rollout_flops=costs.of_decodes(_flops, timeline.rows).sum() + chunks * costs.prefill.work.flops + kv_flops,
        loss_flops=costs.of_losses(_flops),
        step_rows=float(timeline.rows.mean()),
        bound="the device's memory" if full.work.bytes / full.work.flops > _balance(device) else "its products",
    )


def decode_steps(costs: Costs, device: Device, timeline: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each decode step without the cache, and of reading the cache, (steps,) each."""
    steps = costs.of_decodes(lambda work: device.seconds(work, captured=True), timeline.rows)
    return steps, device.cache_seconds(costs.layers, timeline.rows, timeline.cached, timeline.again)


def _flops(work: Work) -> float:
    return work.flops


def _attention_width(costs: Costs) -> int:
    """Query heads times their size, over all layers: a token's products with one cached token, over 4."""
    text = costs.config.get_text_config()
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return text.num_attention_heads * dim * text.num_hidden_layers


def _balance(device: Device) -> float:
    """Bytes that the device moves while it does one floating-point operation."""
    rate = device.bf16 if isinstance(device, Gpu) else 2 * device.attention_rate
    return 1 / (device.read_seconds(1) * rate)
