"""Checks what a run needs before it starts: versions, machine, disk, configuration, and a short self-test."""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from packaging.requirements import Requirement

from data.mixture import demonstrations, judge, load_mixture
from data.tasks import TASKS
from train.config.parse import parse_config
from train.files.untrusted import read_metrics
from train.gate import check_contamination
from train.lifecycle.run_folder import make_folder
from train.rollout import native
from train.run import check_parts, train

# The smallest run that goes through every part: a model from nothing, one RL step.
SELF_TEST = {
    "scratch": '{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}',
    "tasks": json.dumps({name: {} for name in TASKS}),
    "cold_start_steps": "1",
    "max_steps": "1",
    "per_device_train_batch_size": "8",
    "num_generations": "8",
    "max_completion_length": "32",
    "train_problems": "40",
    "validation_problems": "0",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check; `mend` says what to do where something is wrong."""

    name: str
    state: str
    mend: str = ""


def examine(config: Path | None, runs_dir: Path) -> Iterator[Finding]:
    """Run every check; what should be mended first comes first."""
    yield python()
    yield from packages()
    yield memory()
    yield device()
    if not torch.cuda.is_available():
        yield guarded("kernels", kernels)
    yield disk(runs_dir)
    for what, check in (("verifiers", verifiers), ("self-test", self_test)):
        yield guarded(what, check)
    if config is not None:
        yield guarded(str(config), lambda: configuration(config))


def guarded(what: str, check: Callable[[], Finding]) -> Finding:
    """The finding of `check`; an error of any kind becomes a finding too."""
    try:
        return check()
    except Exception as error:  # a doctor that crashes helps nobody
        return Finding(what, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")


def python() -> Finding:
    """The interpreter."""
    version_here = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", version_here, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")


def packages() -> Iterator[Finding]:
    """Each package that the project asks for, in the version that it asks for."""
    try:
        requirements = [Requirement(line) for line in requires("rethink") or []]
    except PackageNotFoundError:
        yield Finding("rethink", "not installed", "run `make setup`, and use its .venv")
        return
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version_here = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "missing", "run `make setup`")
            continue
        fits = requirement.specifier.contains(version_here, prereleases=True)
        yield Finding(
            requirement.name, version_here, "" if fits else f"needs {requirement.specifier}: run `make setup`"
        )


def memory() -> Finding:
    """Main memory; the smallest run takes about 1 GiB a process."""
    free = psutil.virtual_memory().available / 2**30
    state = f"{free:.1f} GiB free, {torch.get_num_threads()} threads of {psutil.cpu_count()} cores"
    return Finding("memory", state, "" if free >= 2 else "end other programs: a small run needs 2 GiB")


def device() -> Finding:
    """The device on which a run would compute."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        kind = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: set fp16 or train in float32"
        name = torch.cuda.get_device_name(0)
        state = f"{torch.cuda.device_count()} x {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, {kind}"
        return Finding("device", state, "" if free > 0.5 * total else "another program holds most of the GPU's memory")
    if shutil.which("nvidia-smi"):
        return Finding("device", "CPU, though there is a GPU", "install a build of torch with CUDA, as on pytorch.org")
    return Finding("device", "CPU; enough for models of some million parameters")


def kernels() -> Finding:
    """Whether the rollout engine's kernels for a CPU are there."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        available = native.available()
    if available or os.environ.get("RETHINK_NATIVE") == "0":
        return Finding("kernels", "compiled for this processor" if available else "left out, as RETHINK_NATIVE=0 says")
    state = " ".join(str(messages[0].message).split()) if messages else "not for this system"
    return Finding("kernels", state, "install a C++ compiler, such as g++; without, rollouts take about twice as long")


def disk(runs_dir: Path) -> Finding:
    """Whether the folder of the runs can be written, and how much fits."""
    existing = next(path for path in (runs_dir.absolute(), *runs_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("disk", f"{existing}: {error.strerror}", "choose another folder with --runs_dir")
    return Finding(
        "disk", f"{free:.1f} GiB free at {existing}", "" if free >= 1 else "free 1 GiB, or choose --runs_dir"
    )


def verifiers() -> Finding:
    """Every task's verifier: it must accept some demonstrations, and no empty answer."""
    parts = load_mixture({name: {} for name in TASKS})
    verdicts = [judge(problem, text)[1] for problem, text in demonstrations(parts, 40, 0)]
    silent = [judge(problem, "")[1] for problem, _ in demonstrations(parts, 40, 0)]
    right = sum(v.correct for v in verdicts)
    well = right > 0 and not any(v.error for v in verdicts) and not any(v.correct for v in silent)
    state = f"{right} of {len(verdicts)} demonstrations are right, none of {len(silent)} silences"
    return Finding("verifiers", state, "" if well else "the verifiers do not judge as they should: run `make test`")


def self_test() -> Finding:
    """A complete tiny run: cold start, rollouts, the engine compared with the trainer, one update, a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        options = [text for name, value in SELF_TEST.items() for text in (f"--{name}", value)]
        run, training = parse_config(["--name", "self-test", "--runs_dir", folder, *options])
        make_folder(run, training)
        with contextlib.redirect_stderr(io.StringIO()):
            train(run, training)
        rows = read_metrics(run.folder / "metrics.jsonl")
    gap = next(row["logprob_gap/max"] for row in rows if "logprob_gap/max" in row)
    return Finding("self-test", f"one step trained; the engine is within {gap:.1g} of the trainer")


def configuration(config: Path) -> Finding:
    """The configuration and the model that it names, by the checks of a run that starts."""
    run, training = parse_config(["--config", str(config)])
    model = check_parts(run, training)
    check_contamination(run, training.seed)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    return Finding(str(config), f"{run.model}, {millions:,.1f} million parameters")
