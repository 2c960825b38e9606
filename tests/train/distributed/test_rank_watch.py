"""One of two processes dies: the other ends, and says which it was."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROCESS = """
import os, signal, sys
import psutil
from accelerate import PartialState
from train.distributed.rank_watch import RankWatch

state = PartialState(cpu=True)
watch = RankWatch()
state.wait_for_everyone()
if state.process_index:
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    watch.leave()
    sys.exit(0)
if sys.argv[1] == "leave":
    beat = watch.store.get("beat/1")
    while psutil.Process(int(beat.split()[1])).status() != psutil.STATUS_ZOMBIE:
        pass
    watch._judge(1, beat, {})
    watch.leave()
    sys.exit(0)
try:
    state.wait_for_everyone()  # for a process that will not come
except RuntimeError as error:
    watch.explain(error)
    raise
"""


def two_processes(script: Path, how: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the script as rank 0 and 1 without a launcher, which would end one when the other dies; what came of both."""
    script.write_text(PROCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "1",
        "PYTHONPATH": str(ROOT),
    }
    running = [
        subprocess.Popen(
            [sys.executable, script, how],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=200)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, None, text)
        for process, text in zip(running, said, strict=True)
    ]


def test_the_survivor_names_the_rank_that_died(tmp_path):
    survivor, dead = two_processes(tmp_path / "process.py", "die")
    assert dead.returncode == -9
    assert survivor.returncode == 6, survivor.stderr
    assert "The process of rank 1 (pid" in survivor.stderr and "has died" in survivor.stderr


def test_a_process_that_leaves_in_good_order_is_not_mourned(tmp_path):
    first, second = two_processes(tmp_path / "process.py", "leave")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
