"""The plan in words and tables, as `scripts/plan.py` prints it."""

from collections.abc import Sequence
from pathlib import Path

from train.plan.costs import Costs
from train.plan.devices import GIB, Gpu
from train.plan.outlook import Advice, Outlook, advise, look_at, look_further
from train.plan.share import Share
from train.plan.step_plan import ROOM, Device, Memory

HELD_TO = {
    True: "For GPUs the figures rest on data sheets and on the shares of them that train/plan/devices.py assumes.",
    False: "On CPUs scripts/bench_plan.py compares these figures with measurements.",
}


# The columns of the table of GPUs and their widths; `of it talk` is the time of a step spent on communication.
COLUMNS = {
    "GPUs": 4,
    "model": 7,
    "micro-batch": 13,
    "accumulation": 14,
    "rollouts": 10,
    "memory": 11,
    "fits": 6,
    "a step": 10,
    "of it talk": 12,
    "run": 10,
    "speed": 8,
}


def page(config: Path, costs: Costs, device: Device, gpus: int) -> tuple[str, bool]:
    """The whole plan of `costs`, which are those of each of `gpus` processes, and whether the run fits as it is."""
    now = look_at(costs, device, Share(gpus))
    advice = advise(costs, device, now.share)
    sections = [_head(config, costs, device, gpus), _memory_table(now.memory), _verdict(device, now)]
    sections.append(_batch(costs, advice))
    best = now if now.fits else look_at(advice.costs, device, advice.share) if advice else None
    if best is not None:
        sections.append(_times(best, now.fits))
        others = []
        if isinstance(device, Gpu):
            others = look_further(best.costs, device, now.rollouts, sorted({1, gpus, 8, 64}))
            sections.append(_table_of_gpus(others, device))
        sections.append(f"In short: {in_short(best, others, device)}")
    return "\n\n".join([*sections, HELD_TO[device.is_gpu]]), now.fits


def in_short(best: Outlook, others: Sequence[Outlook], device: Device) -> str:
    """The figures of a plan in one line, as the recipes carry them."""
    text = f"{best.memory.peak / GIB:.1f} of {device.memory / GIB:.0f} GiB, {duration(best.times.step)} a step, "
    text += f"{best.costs.work.steps} steps in {duration(best.seconds)}"
    for processes in sorted({other.share.processes for other in others} - {best.share.processes}):
        fitting = [other for other in others if other.share.processes == processes and other.fits]
        if fitting:
            first = fitting[0]
            text += f"; {processes} GPUs ({first.share.name}): {duration(first.times.step)} a step"
    return text + "."


def _head(config: Path, costs: Costs, device: Device, gpus: int) -> str:
    work, sizes = costs.work, costs.sizes
    trained = "all of them trained" if sizes.trained == sizes.total else f"{_count(sizes.trained)} of them trained"
    on = f"{gpus} x {device.name}" if gpus > 1 else f"one {device.name}" if device.is_gpu else "this machine's CPU"
    lines = [
        f"{config} on {on}, {device.memory / GIB:,.0f} GiB" + (" each" if gpus > 1 else ""),
        "",
        f"model    {costs.run.model}: {_count(sizes.total)} weights, {trained}"
        + (", in 4 bits" if costs.run.load_in_4bit else ""),
        f"a step   {work.rollouts * gpus:,} rollouts of {work.prompts * gpus:,} prompts; {work.prompt:,} tokens of "
        f"prompt, {work.mean:,.0f} of completion, {work.most:,} at most",
    ]
    return "\n".join([*lines, *(f"assumed  {each}" for each in work.assumed)])


def _memory_table(memory: Memory) -> str:
    """GiB of each part in each phase."""
    parts = list(dict.fromkeys(part for phase in memory.phases.values() for part in phase))
    lines = [f"{'memory, GiB':26}" + "".join(f"{phase:>10}" for phase in memory.phases)]
    for part in parts:
        sizes = [phase.get(part, 0.0) for phase in memory.phases.values()]
        lines.append(f"  {part:24}" + "".join(f"{size / GIB:10.2f}" if size else f"{'-':>10}" for size in sizes))
    totals = [sum(phase.values()) for phase in memory.phases.values()]
    return "\n".join([*lines, f"  {'together':24}" + "".join(f"{total / GIB:10.2f}" for total in totals)])


def _verdict(device: Device, now: Outlook) -> str:
    peak = now.memory.peak
    numbers = f"{peak / GIB:,.1f} of {device.memory / GIB:,.0f} GiB at the worst moment ({now.memory.worst})"
    if now.fits:
        return f"It fits: {numbers}."
    if ROOM * device.memory < peak <= device.memory:
        return f"It may not fit: {numbers}, and a plan is out by some percent."
    return f"It does not fit: {numbers}."


def _batch(costs: Costs, advice: Advice | None) -> str:
    if advice is None:
        return "Nothing that a config can say makes it fit; take a smaller model, shorter completions or a larger GPU."
    work = advice.costs.work
    settings = {key: str(value).lower() for key, value in advice.settings.items()}
    settings |= {"per_device_train_batch_size": str(work.rows), "gradient_accumulation_steps": str(work.micro_batches)}
    options = ", ".join(f"{key}: {value}" for key, value in settings.items())
    if advice.share.sharded:
        options += ", launched with configs/accelerate/fsdp2.yaml"
    now = " (as it is)" if work.rows == costs.work.rows and not advice.settings and not advice.share.sharded else ""
    return f"The largest micro-batch that fits: {options}{now}."


def _times(best: Outlook, as_it_is: bool) -> str:
    times = best.times
    training = times.loss + times.update
    lines = [
        f"a step takes {duration(times.step)}" + ("" if as_it_is else ", with these settings"),
        f"  rollouts  {duration(times.rollouts):>9}  {times.rollout_rate:>9,.0f} tokens/s sampled, "
        f"{times.step_rows:,.0f} rollouts at a time, {times.rollout_flops / times.rollouts / 1e12:,.2f} TFLOP/s; "
        f"bound by {times.bound}",
        f"  training  {duration(training):>9}  {times.loss_rate:>9,.0f} tokens/s, prompts among them, "
        f"{times.loss_flops / training / 1e12:,.2f} TFLOP/s",
    ]
    if times.communication:
        lines.append(f"  between GPUs {duration(times.communication):>6}")
    whole = f"{best.costs.work.steps:,} steps take {duration(best.seconds)}"
    return "\n".join([*lines, f"{whole}, evaluations, checkpoints and a cold start aside."])


def _table_of_gpus(rows: Sequence[Outlook], gpu: Gpu) -> str:
    lines = ["The same step on more GPUs, on paper:", "".join(f"{name:>{width}}" for name, width in COLUMNS.items())]
    for row in rows:
        work, step = row.costs.work, row.times.step
        # A batch that had to grow, since each process needs a group, counts for as much more.
        speed = rows[0].times.step / step * row.rollouts / rows[0].rollouts
        cells = (
            str(row.share.processes),
            row.share.name,
            str(work.rows),
            str(work.micro_batches),
            f"{row.rollouts:,}",
            f"{row.memory.peak / GIB:.1f} GiB",
            "yes" if row.fits else "no",
            duration(step),
            duration(row.times.communication),
            duration(row.seconds),
            f"{speed:.1f}x",
        )
        lines.append("".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True)))
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 0.1:
        return f"{1000 * seconds:.1f} ms"
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _count(weights: int) -> str:
    return f"{weights / 1e9:,.2f} billion" if weights >= 1e9 else f"{weights / 1e6:,.2f} million"
