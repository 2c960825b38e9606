"""Reads a training config for a plan, as training reads it, but without needing the GPU, data or model weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trl import GRPOConfig

from data.fixed_sets.rows import NotAtHand
from train.config.parse import parse_config
from train.config.run_config import RunConfig
from train.files.untrusted import read_yaml

STAND_IN = '{"countdown": {}}'  # in place of problems that are not at hand


@dataclass(frozen=True, slots=True)
class Given:
    """What a config says of a run. `problems` is None where its problems can be read, else why they cannot."""

    run: RunConfig
    training: GRPOConfig
    bf16: bool
    problems: str | None


def read_given(config: Path, options: Sequence[str], *, gpu: bool) -> Given:
    """Read `config` and the `options` that override it, for a GPU or a CPU, whichever this machine has.

    Raises ValueError as training would.
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
    return Given(run, training, bf16 or training.fp16, problems)


def _asks_for_bf16(config: Path, options: Sequence[str]) -> bool:
    """Whether a GPU would multiply in bfloat16, which is our default there; fp16 takes as many bytes."""
    if "--bf16" in options[:-1]:
        return options[options.index("--bf16") + 1].lower() == "true"
    content = read_yaml(config) if config.is_file() else None
    return bool(content.get("bf16", True)) if isinstance(content, dict) else True
