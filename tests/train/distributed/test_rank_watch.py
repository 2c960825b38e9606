"""One of two processes dies: the other ends, and says which it was."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from accelerate import PartialState
from launching import in_processes
from resuming import die

from train.distributed.rank_watch import RankWatch

ROOT = Path(__file__).parents[3]
# Interpreters of their own, for it is at their end that threads of the process group may still be about.
LEAVING = """
import os, select
from accelerate import PartialState
from train.distributed.rank_watch import RankWatch

state = PartialState(cpu=True)
watch = RankWatch()
state.wait_for_everyone()
if state.process_index == 0:
    beat = watch.store.get("beat/1")
    select.select([os.pidfd_open(int(beat.split()[1]))], [], [])  # until it has ended
    watch._judge(1, beat, {})
watch.leave()
"""


def two_processes(script: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run LEAVING as rank 0 and 1 without a launcher, which would end one when the other dies; what came of both."""
    script.write_text(LEAVING)
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
            [sys.executable, script],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate()[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, None, text)
        for process, text in zip(running, said, strict=True)
    ]


def wait_for_one_that_dies() -> int:
    """Rank 1 dies; rank 0 waits for it in a collective."""
    state = PartialState(cpu=True)
    watch = RankWatch()
    state.wait_for_everyone()
    if state.process_index:
        die()
    try:
        state.wait_for_everyone()
    except RuntimeError as error:
        watch.explain(error)
        raise
    return 0


def test_the_survivor_names_the_rank_that_died(capfd):
    assert in_processes(2, {}, wait_for_one_that_dies) == [6, -9]
    said = capfd.readouterr().err
    assert "The process of rank 1 (pid" in said and "has died" in said


def test_a_process_that_leaves_in_good_order_is_not_mourned(tmp_path):
    first, second = two_processes(tmp_path / "process.py")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
