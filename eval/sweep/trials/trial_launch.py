"""Starting a run as a user would, by `accelerate launch`, on its share of the machine."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from eval.sweep.setup.spec import Spec
from eval.sweep.trials.leash import GRACE, members
from eval.sweep.trials.records import Run
from train.files.run_lock import is_held

POLL = 1.0  # seconds between two looks at a run


@dataclass(frozen=True, slots=True)
class Slot:
    """A share of a machine that one run has at a time: its GPUs, and the CPU threads of each process."""

    number: int
    gpus: tuple[str, ...] = ()
    threads: int = 1


def command(spec: Spec, run: Run, slot: Slot) -> list[str]:
    """The command that starts a run, or resumes one that had begun."""
    options: dict[str, object] = {
        "--num_processes": max(1, len(slot.gpus)),
        "--num_cpu_threads_per_process": spec.threads,
    }
    if "--config_file" not in spec.launch:  # else the file says the rest
        options |= {"--num_machines": 1, "--mixed_precision": "no", "--dynamo_backend": "no"}
        options |= {} if slot.gpus else {"--cpu": ""}
        options |= {"--multi_gpu": ""} if len(slot.gpus) > 1 else {}
    if len(slot.gpus) > 1:
        options["--main_process_port"] = 0  # any that is free: there are other runs on this machine
    launcher = [
        str(text) for option in options.items() if option[0] not in spec.launch for text in option if text != ""
    ]
    arguments = ["--config", run.config, "--runs_dir", run.folder.parent, "--name", run.folder.name, "--seed", run.seed]
    resume = ["--resume"] if (run.folder / "config.yaml").is_file() else []
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", *launcher, *spec.launch),
        *("-m", "train", *map(str, arguments), *resume),
    ]


def decoding_command(spec: Spec, run: Run) -> list[str]:
    """The command that samples a finished run at each of the spec's temperatures."""
    return [sys.executable, "-m", "eval.sweep.trials.decodings", str(run.folder), *map(str, spec.temperatures)]


def show_command(spec: Spec, run: Run, slot: Slot) -> str:
    """The command as a person would type it."""
    words = command(spec, run, slot)[3:]
    gpus = f"CUDA_VISIBLE_DEVICES={','.join(slot.gpus)} " if slot.gpus else ""
    return gpus + shlex.join(["accelerate", "launch", *words])


def environment(slot: Slot) -> dict[str, str]:
    """The environment of a run on its share of the machine."""
    share = {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus), "OMP_NUM_THREADS": str(slot.threads)}
    return os.environ | share | {"PYTHONUNBUFFERED": "1"}


def launch(words: Sequence[str], run: Run, slot: Slot, stop: Callable[[], bool]) -> tuple[int, str] | None:
    """Run a command to its end, or until `stop` says so; it then finishes its step and saves.

    Returns its exit code and what it said, or None where it was not started, since `stop` came first: another process
    may hold the run still, one that a dead sweep left behind and that is finishing its step.
    """
    while is_held(run.folder):
        if stop():
            return None
        time.sleep(POLL)
    with run.log.open("ab") as log:
        log.write(f"$ {shlex.join(words)}\n".encode())
        log.flush()
        began = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "eval.sweep.trials.leash", *words],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment(slot), start_new_session=True,
        )  # fmt: skip
    assert child.stdin is not None
    try:
        while child.poll() is None:
            if stop():
                child.stdin.close()
                break
            with suppress(subprocess.TimeoutExpired):
                child.wait(POLL)
        code = child.wait()
        if code < 0:  # the leash itself was killed, and what it held runs on
            end_group(child.pid)
    except BaseException:  # this thread is ending: nobody would look after the run
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        raise
    with run.log.open("rb") as log:
        log.seek(began)
        return code, log.read().decode(errors="replace")


def end_group(group: int, grace: float = GRACE) -> None:
    """End the processes of a group as a leash would: SIGTERM, then SIGKILL after `grace` seconds."""
    for process in members(group):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(members(group), timeout=grace)
    for process in members(group):
        with suppress(psutil.NoSuchProcess):
            process.kill()
