"""Several processes on one CPU, as `accelerate launch --config_file configs/accelerate/X.yaml` would start them.

They are forked, so that each need not import torch anew; one test goes through the launcher itself.
"""

import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils.launch import prepare_multi_gpu_env
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
ACCELERATE = ROOT / "configs" / "accelerate"


def launch_arguments(name: str, *options: str):
    """What `accelerate launch` makes of a config file and of these options."""
    given = ["--config_file", str(ACCELERATE / f"{name}.yaml"), *options, "-m", "train"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(given))
    return arguments


def launch_environment(name: str, processes: int) -> dict[str, str]:
    """What the launcher tells its processes about a config file: the variables that it sets or changes."""
    arguments = launch_arguments(name, "--num_processes", str(processes), "--main_process_port", "0")
    environment = prepare_multi_gpu_env(arguments)
    return {key: value for key, value in environment.items() if os.environ.get(key) != value}


def in_processes(count: int, environment: dict[str, str], work: Callable[[], int], nodes: int = 1) -> list[int]:
    """Run `work` in `count` forked processes that find one another; returns their exit codes, or minus the signal.

    As on so many machines; after a time that only processes which wait for one another take, all are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"}
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            code = 70
            try:
                numbers = {"RANK": rank, "WORLD_SIZE": count}
                numbers |= {"LOCAL_RANK": rank % (count // nodes), "LOCAL_WORLD_SIZE": count // nodes}
                AcceleratorState._reset_state(reset_partial_state=True)  # what the tests before have left
                os.environ.update(environment | shared | {name: str(number) for name, number in numbers.items()})
                code = work()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    ended = {child: os.pidfd_open(child) for child in children}
    deadline = time.monotonic() + PATIENCE
    for handle in ended.values():
        if not select.select([handle], [], [], max(0, deadline - time.monotonic()))[0]:
            for child in children:
                os.kill(child, signal.SIGKILL)
        os.close(handle)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
