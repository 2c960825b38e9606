"""Several processes on one CPU, as `accelerate launch --config_file configs/accelerate/X.yaml` would start them.

They are forked, so that each need not import torch anew; one test goes through the launcher itself.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

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


def in_processes(count: int, environment: dict[str, str], work: Callable[[], int]) -> list[int]:
    """Run `work` in `count` forked processes that find one another; returns their exit codes, or minus the signal."""
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
                os.environ.update(environment | shared)
                for prefix in ("", "LOCAL_"):
                    os.environ[f"{prefix}RANK"], os.environ[f"{prefix}WORLD_SIZE"] = str(rank), str(count)
                code = work()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
