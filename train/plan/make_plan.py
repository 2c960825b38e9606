"""One plan: reads the config, finds the device, counts, and writes the plan in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trl import GRPOConfig

from data.fixed_sets.rows import NotAtHand
from train.config.parse import parse_config
from train.config.run_config import RunConfig
from train.files.untrusted import read_yaml
from train.plan.checkpointing import with_decided_checkpointing
from train.plan.costs import Costs
from train.plan.devices import find_gpu
from train.plan.page import page
from train.plan.processor import probe
from train.plan.share import Share
from train.plan.step_plan import Device
from train.plan.workload import read_workload

STAND_IN = '{"countdown": {}}'  # in place of problems that are not at hand


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
        raise ValueError(f"--gpus is {gpus}; expected 1 or more; more than one needs a --gpu.")
    gpu_device = find_gpu(gpu) if is_gpu else None
    if mean is not None and mean < 1:
        raise ValueError(f"--mean_tokens is {mean:g}; expected at least 1.")
    request = read_request(config, options, gpu=is_gpu)
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


@dataclass(frozen=True, slots=True)
class Request:
    """A run to plan, as its config says. `problems` is None where its problems can be read, else why they cannot."""

    run: RunConfig
    training: GRPOConfig
    bf16: bool
    problems: str | None


def read_request(config: Path, options: Sequence[str], *, gpu: bool) -> Request:
    """Read `config` and the `options` that override it as training does, but without GPU, data or model weights.

    `gpu` says for which device, whatever this machine has. Raises ValueError as training would.
    """
    arguments = ["--config", str(config), *options]
    bf16 = _asks_for_bf16(config, options) if gpu else False
    arguments += ["--bf16", "false", "--use_cpu", "false" if gpu else "true"]  # transformers would look for the GPU
    try:
        run, training = parse_config(arguments)
        problems = None
    except NotAtHand as error:
        run, training = parse_config([*arguments, "--tasks", STAND_IN])
        problems = str(error)
    if run.load_in_4bit and not gpu:
        raise ValueError(
            "load_in_4bit is set, which trains on a CUDA GPU only; plan for one with --gpu, or leave it out."
        )
    return Request(run, training, bf16 or training.fp16, problems)


def _asks_for_bf16(config: Path, options: Sequence[str]) -> bool:
    """Whether a GPU would multiply in bfloat16, which is our default there; fp16 takes as many bytes."""
    if "--bf16" in options[:-1]:
        return options[options.index("--bf16") + 1].lower() == "true"
    content = read_yaml(config) if config.is_file() else None
    return bool(content.get("bf16", True)) if isinstance(content, dict) else True
