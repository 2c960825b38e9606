"""Checks of a sweep before its first run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil  # type: ignore[import-untyped]

from eval.sweep.setup.setting import setting
from eval.sweep.setup.space import Params, corners, grid, show
from eval.sweep.setup.spec import Spec
from eval.sweep.trials.choose import propose
from train.config.arguments import typed

LEAST_TO_CHOOSE = 2  # validation problems, one for each half (eval.sweep.ranking.measure)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has: the names of its GPUs, as CUDA_VISIBLE_DEVICES takes them, and its cores."""

    gpus: tuple[str, ...]
    cores: int


def check(spec: Spec) -> tuple[Spec, Machine]:
    """Have `train` read the trials' configs; returns the spec with every open setting decided, and the machine.

    Of a grid or a random sweep every trial is read; of TPE, whose trials are not known yet, every choice and both ends
    of every range. Raises ValueError with one clear line.
    """
    looked_at = ahead(spec)
    configs = [setting(spec.base, spec.set, spec.space, params) for params in looked_at]
    _refuse_errors(looked_at, [{"error": mistyped(config)} for config in configs])  # before torch takes its seconds
    answer = parse(configs)
    replies = answer["parsed"]
    _refuse_errors(looked_at, replies)
    _refuse_twins(looked_at, replies)
    for params, reading in zip(looked_at, replies, strict=True):
        _check_measure(spec, params, reading, replies[0])
    machine = _machine(answer["gpus"])
    return _settled(spec, machine, use_cpu=replies[0]["use_cpu"]), machine


def ahead(spec: Spec) -> list[Params]:
    """The settings that are known beforehand, in the order of the trials; of TPE, its random start and the corners."""
    if spec.method == "grid":
        return list(grid(spec.space))
    points: list[Params] = []
    for number in range(spec.startup_trials if spec.method == "tpe" else spec.count):
        params = propose(spec, number, points, [])
        assert params is not None  # there are as many settings as trials
        points.append(params)
    return points + list(corners(spec.space)) if spec.method == "tpe" else points


def mistyped(config: dict[str, Any]) -> str:
    """Why `train` would refuse the config's names or values at once; empty where it would not."""
    try:
        typed(config)
    except ValueError as error:
        return " ".join(str(error).split())
    return ""


def parse(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The configs as `train` reads them, in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "eval.sweep.setup.parse"], input=json.dumps(configs), capture_output=True, text=True
    )
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no word"])[-1]
        raise ValueError(f"The configs could not be read: {last}")
    return dict(json.loads(process.stdout))


def _refuse_errors(looked_at: Sequence[Params], replies: Sequence[dict[str, Any]]) -> None:
    wrong = [(params, reading["error"]) for params, reading in zip(looked_at, replies, strict=True) if reading["error"]]
    if not wrong:
        return
    params, error = wrong[0]
    if len(wrong) == len(replies):
        raise ValueError(error)  # the fault is not this setting's
    others = f" So are {len(wrong) - 1} more of the {len(replies)} settings." if len(wrong) > 1 else ""
    raise ValueError(f"The setting {show(params)} is refused: {error}{others}")


def _refuse_twins(looked_at: Sequence[Params], replies: Sequence[dict[str, Any]]) -> None:
    """Refuse settings that make the same run, such as a learning rate written as 1e-4 and as 0.0001."""
    first: dict[str, Params] = {}
    for params, reading in zip(looked_at, replies, strict=True):
        twin = first.setdefault(reading["resolved"], params)
        if twin != params or list(map(type, twin.values())) != list(map(type, params.values())):
            raise ValueError(f"The settings {show(twin)} and {show(params)} come to the same run; leave one out.")


def _check_measure(spec: Spec, params: Params, reading: dict[str, Any], first: dict[str, Any]) -> None:
    """Refuse trials without the measure that decides at their last step, or with another one than their fellows."""
    if not reading["problems"]:
        raise ValueError(
            f"validation_problems is 0, and {spec.metric} is measured on them: give `set: {{validation_problems: 64}}`."
        )
    if spec.temperatures and reading["problems"] < LEAST_TO_CHOOSE:
        raise ValueError(
            f"validation_problems is {reading['problems']}, and each half of them chooses the other half's decoding: "
            f"give at least {LEAST_TO_CHOOSE}."
        )
    steps, every = reading["max_steps"], reading["eval_steps"]
    if steps <= 0:
        raise ValueError(f"max_steps is {steps}; a sweep's trials need their number of steps.")
    if reading["strategy"] != "steps" or every < 1 or steps % every:
        raise ValueError(
            f"A trial is judged at its last step, but with max_steps {steps}, eval_strategy {reading['strategy']} and "
            f"eval_steps {every:g} it is not evaluated there; set eval_strategy: steps, and eval_steps to a divisor."
        )
    _, _, task = spec.metric.partition("/")
    if task and task not in reading["tasks"]:
        raise ValueError(f"metric is {spec.metric}, but the tasks are: {', '.join(reading['tasks'])}.")
    if reading["validation"] != first["validation"]:
        raise ValueError(
            f"The setting {show(params)} has other validation problems than the first one, so the two could not be "
            "compared; search what changes the training alone."
        )


def _machine(gpus: int) -> Machine:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:gpus] if visible else [str(number) for number in range(gpus)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return Machine(tuple(names), cores)


def _settled(spec: Spec, machine: Machine, *, use_cpu: bool) -> Spec:
    """The spec with the machine's share of each run, and how far ahead trials are chosen."""
    gpus = spec.gpus if spec.gpus is not None else int(bool(machine.gpus) and not use_cpu)
    if gpus > len(machine.gpus):
        raise ValueError(f"gpus is {gpus}, but this machine has {len(machine.gpus)}.")
    if gpus and use_cpu:
        raise ValueError(f"gpus is {gpus}, but the config has use_cpu; leave one out.")
    workers = spec.workers or (len(machine.gpus) // gpus if gpus else 1)
    if gpus and workers * gpus > len(machine.gpus):
        raise ValueError(
            f"{workers} workers with {gpus} GPUs each need {workers * gpus}; this machine has {len(machine.gpus)}."
        )
    threads = spec.threads or max(1, machine.cores // workers // max(1, gpus))
    at_once = spec.at_once or workers
    return replace(spec, workers=workers, gpus=gpus, threads=threads, at_once=at_once, startup=spec.startup_trials)
