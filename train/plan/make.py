"""One plan from beginning to end: read the config, find the device, count, and put it in words."""

from collections.abc import Sequence
from pathlib import Path

from train.plan.checkpointing import with_decided_checkpointing
from train.plan.costs import Costs
from train.plan.devices import find_gpu
from train.plan.page import page
from train.plan.processor import probe
from train.plan.reading import read_given
from train.plan.share import Share
from train.plan.step_plan import Device
from train.plan.workload import read_workload


def make_plan(
    config: Path,
    options: Sequence[str] = (),
    *,
    gpu: str = "cpu",
    gpus: int = 1,
    mean: float | None = None,
    prompt: int | None = None,
) -> tuple[str, bool]:
    """The plan of `config` in words, and whether the run fits as it is.

    `mean` and `prompt` are tokens of a completion and of a prompt. Raises ValueError, in one line, for what training
    would refuse, for an unknown GPU, and for a model whose configuration cannot be read from here.
    """
    is_gpu = gpu.lower() != "cpu"
    if gpus < 1 or (gpus > 1 and not is_gpu):
        raise ValueError(f"--gpus is {gpus}; expected 1 or more, and a --gpu that there are so many of.")
    gpu_device = find_gpu(gpu) if is_gpu else None
    if mean is not None and mean < 1:
        raise ValueError(f"--mean_tokens is {mean:g}; expected at least 1.")
    request = read_given(config, options, gpu=is_gpu)
    work = read_workload(
        request.run, request.training, bf16=request.bf16, mean=mean, prompt=prompt, at_hand=request.problems is None
    )
    costs = Costs(request.run, work, gpu=is_gpu)
    if gpu_device is not None and request.run.plan_checkpointing:
        costs = with_decided_checkpointing(costs, gpu_device, Share(gpus))
    device: Device = gpu_device or probe(
        [(costs.decodes[-1].work, True), (costs.decodes[0].work, True), (costs.losses[-1][1], False)]
    )
    return page(config, costs, device, gpus)
