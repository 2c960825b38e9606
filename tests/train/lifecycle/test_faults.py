"""Fault test: runs are broken off at random moments and in every phase, and each must resume to the same end.

`make test-faults` runs it and prints the table; RETHINK_FAULT_SEED chooses other moments.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from resuming import DYNAMIC, ROOT, assert_same, die, in_child, launch, reward_anything, what_was_left, write_config
from trl import GRPOTrainer

from train.lifecycle import signals
from train.lifecycle.callbacks import MetricsFile
from train.model import judged
from train.rewards.correctness import CorrectnessReward
from train.rollout.dense.dense_steps import DenseRun
from train.trainer import ReasoningTrainer

pytestmark = [pytest.mark.slow, pytest.mark.faults]
STEPS = 12
ROLLOUTS_A_STEP = 8
VALUES = {"max_steps": STEPS, "save_steps": 2, "cold_start_steps": 20, "eval_steps": 3}
# Where a process can be broken off, as (phase, owner, function): the kill comes at the n-th call, n drawn at random.
PLACES = [
    ("rollout", DenseRun, "step"),
    ("verifier", judged, "judge"),
    ("rollout file", pq, "write_table"),
    ("loss", GRPOTrainer, "_compute_loss"),
    ("update", ReasoningTrainer, "_get_grad_norm"),
    ("checkpoint", os, "fsync"),
    ("checkpoint", Path, "rename"),
    ("checkpoint", ReasoningTrainer, "_save_rng_state"),
    ("checkpoint", shutil, "rmtree"),
    ("evaluation", GRPOTrainer, "prediction_step"),
    ("metrics", MetricsFile, "on_log"),
]
KILLS_A_PLACE = 2
KILLS_BY_THE_CLOCK = 30
HUNG_VERIFIERS = 3


@pytest.fixture
def rewarded(monkeypatch):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()


@contextmanager
def counted(owner: object, name: str, at_call: int, act: Callable[[], None]) -> Iterator[Counter[str]]:
    """While it is entered, count the calls of a function, and do `act` before the `at_call`-th."""
    calls: Counter[str] = Counter()
    original = getattr(owner, name)

    def call(*args, **kwargs):
        calls[name] += 1
        if calls[name] == at_call:
            act()
        return original(*args, **kwargs)

    setattr(owner, name, call)
    try:
        yield calls
    finally:
        setattr(owner, name, original)


def nothing_lost(run: Path) -> bool:
    """Whether what a broken run has logged is all there and readable: every rollout of every logged step."""
    if not (run / "metrics.jsonl").is_file():
        return True
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    logged = {row["step"] for row in map(json.loads, lines) if row["phase"] == "rl" and "reward" in row}
    if not logged:
        return True
    table = ds.dataset(run / "rollouts.parquet").to_table(columns=["step", "split"]).to_pylist()
    rows = Counter(row["step"] for row in table if row["split"] == "train")
    return all(rows[step] == ROLLOUTS_A_STEP for step in logged)


def finish(config: Path, name: str, whole: dict, code: int) -> tuple[bool, str]:
    """Resume the broken run and compare; returns whether all is well, and what happened."""
    run = config.parent / name
    kept = nothing_lost(run)
    started = (run / "config.yaml").is_file()
    try:
        resumed = in_child(lambda: launch(config, "--name", name, *(["--resume"] if started else [])))
        if resumed != 0:
            return False, f"exit {code}; the resumed run ended with {resumed}"
        assert_same(what_was_left(run, STEPS), whole)
    except AssertionError as error:
        return False, f"exit {code}; not the same: {str(error)[:80]}"
    finally:
        shutil.rmtree(run)
    return kept, f"exit {code}; same to the last bit" + ("" if kept else ", but rollouts were lost")


def test_every_broken_run_resumes_to_the_same_end(tmp_path, rewarded, capfd):
    chance = random.Random(int(os.environ.get("RETHINK_FAULT_SEED", "0")))
    config = write_config(tmp_path, **VALUES)
    began = time.monotonic()
    assert in_child(lambda: launch(config, "--name", "whole")) == 0
    seconds = time.monotonic() - began
    whole = what_was_left(tmp_path / "whole", STEPS)
    table: list[tuple[str, str, bool, str]] = []

    for phase, owner, function in PLACES:
        calls = _calls_of_a_whole_run(config, owner, function)
        for how, act in ((signal.SIGKILL, die), (signal.SIGTERM, lambda: os.kill(os.getpid(), signal.SIGTERM))):
            for _ in range(KILLS_A_PLACE if how is signal.SIGKILL else 1):
                call = chance.randint(1, calls)

                def broken(owner=owner, function=function, call=call, act=act) -> int:
                    with counted(owner, function, call, act):
                        return launch(config, "--name", "broken")

                code = in_child(broken)
                # SIGTERM: -15 before the training has begun, 0 in the last step of all.
                expected = (-9,) if how is signal.SIGKILL else (4, -15, 0)
                well, outcome = finish(config, "broken", whole, code)
                table.append((phase, f"{how.name} at call {call} of {function}", well and code in expected, outcome))

    calls = _calls_of_a_whole_run(config, judged, "judge")
    for _ in range(HUNG_VERIFIERS):
        call = chance.randint(1, calls)

        def hung(call=call) -> int:
            signals.ECHO = 0.0
            with counted(judged, "judge", call, _hang_until_a_second_signal):
                return launch(config, "--name", "broken")

        code = in_child(hung)
        well, outcome = finish(config, "broken", whole, code)
        table.append(("verifier", f"hangs at call {call}, SIGTERM twice", well and code == 128 + 15, outcome))

    killed = 0
    while killed < KILLS_BY_THE_CLOCK:
        after = chance.uniform(0.02, 0.98) * seconds
        began = time.monotonic()
        code = in_child(lambda after=after: _killed_by_the_clock(config, after))
        if code == 0:  # too late: the machine is faster than it was, or than it was busy
            seconds = 0.9 * (time.monotonic() - began)
            shutil.rmtree(tmp_path / "broken")
            continue
        killed += 1
        well, outcome = finish(config, "broken", whole, code)
        table.append(("any", f"SIGKILL after {after:.1f} s", well, outcome))

    with capfd.disabled():
        print("\n" + "\n".join(f"{'ok ' if row[2] else 'BAD'} {row[0]:13} {row[1]:42} {row[3]}" for row in table))
        done = [row for row in table if row[3].startswith("exit 0;")]  # asked to stop in the last step of all
        print(f"{len(table) - len(done)} runs broken off, {len(done)} were done before; ", end="")
        print(f"{sum(row[2] for row in table)} of {len(table)} came to the same end with no logged rollout lost.")
    assert len(table) - len(done) >= 50
    assert all(row[2] for row in table)


def _calls_of_a_whole_run(config: Path, owner: object, function: str) -> int:
    """How often a whole run calls a function, counted in a process of its own."""
    count = config.parent / "count"

    def work() -> int:
        with counted(owner, function, -1, die) as calls:
            code = launch(config, "--name", "counted")
        count.write_text(str(calls[function]))
        return code

    assert in_child(work) == 0
    shutil.rmtree(config.parent / "counted")
    counted_calls = int(count.read_text())
    assert counted_calls, f"{function} is not called where the test looks"
    return counted_calls


def _hang_until_a_second_signal() -> None:
    """A step that never ends: a first SIGTERM is noted and waits for it, a second one ends the process."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
    time.sleep(600)


def _killed_by_the_clock(config: Path, after: float) -> int:
    threading.Timer(after, die).start()
    return launch(config, "--name", "broken")


@pytest.mark.parametrize("fills_at", [1, 4, 7, 10])
def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(tmp_path, rewarded, capfd, fills_at):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        config = write_config(tmp_path, **VALUES)
        assert in_child(lambda: launch(config, "--name", "whole")) == 0
        on_step = lambda: _fill(disk / "filler")  # noqa: E731

        def broken() -> int:
            with counted(ReasoningTrainer, "_get_grad_norm", fills_at, on_step):
                return launch(config, "--name", "broken", "--runs_dir", str(disk))

        code = in_child(broken)
        said = capfd.readouterr().err
        assert code == 5 and "No space left" in said and "--resume" in said
        (disk / "filler").unlink()
        assert in_child(lambda: launch(config, "--name", "broken", "--runs_dir", str(disk), "--resume")) == 0
        assert_same(what_was_left(disk / "broken", STEPS), what_was_left(tmp_path / "whole", STEPS))
        with capfd.disabled():
            print(f"\nok  disk          full from the update of step {fills_at} on: exit 5; same to the last bit")
    finally:
        subprocess.run(["umount", disk], check=True)


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        try:
            while True:
                file.write(bytes(4096))
                file.flush()
        except OSError:
            pass


def two_processes(config: Path, *arguments: str, killed_at: str = "") -> subprocess.Popen:
    """A launch of two processes, which are left without launcher and first process at step `killed_at`."""
    torchrun = Path(sys.executable).parent / "torchrun"
    command = [torchrun, "--standalone", "--nproc_per_node", "2", ROOT / "tests/support/resuming.py"]
    env = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--config", config, *arguments],
        env=os.environ | env | {"RETHINK_TEST_KILLED_AT": killed_at},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("values", [{}, DYNAMIC | {"train_problems": 24}])
@pytest.mark.parametrize("adapters", [False, True])
def test_two_processes_resume_to_the_same_end(tmp_path, checkpoint, adapters, values):
    model = {"model": str(checkpoint), "scratch": None, "lora_rank": 2} if adapters else {}
    config = write_config(tmp_path, **VALUES | model | values | {"save_steps": 5})
    for name, options, killed_at, code in (
        ("whole", (), "", 0),
        ("broken", (), "7", -9),
        ("broken", ("--resume",), "", 0),
    ):
        launched = two_processes(config, "--name", name, *options, killed_at=killed_at)
        _, said = launched.communicate(timeout=300)  # the second process holds the pipe until it has ended as well
        assert launched.returncode == code, said
    assert "Resuming from" in said and "checkpoint-5" in said
    assert_same(what_was_left(tmp_path / "broken", STEPS), what_was_left(tmp_path / "whole", STEPS))


def test_a_killed_worker_ends_the_other_and_the_run_resumes_to_the_same_end(tmp_path, capfd):
    config = write_config(tmp_path, **VALUES | {"max_steps": 400, "eval_strategy": "no", "save_steps": 5})
    whole = two_processes(config, "--name", "whole", "--max_steps", "12")
    _, said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    running = two_processes(config, "--name", "run")
    _wait_for_step(tmp_path / "run", 6, running)
    began = time.monotonic()
    os.kill(_worker(running.pid, rank=1), signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0 and "The process of rank 1 (pid" in said, said
    ended = time.monotonic() - began
    resumed = two_processes(config, "--name", "run", "--resume", "--max_steps", "12")
    _, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0 and "Resuming from" in said, said
    assert_same(what_was_left(tmp_path / "run", STEPS), what_was_left(tmp_path / "whole", STEPS))
    with capfd.disabled():
        print(f"\nok  worker        rank 1 killed; rank 0 named it and ended after {ended:.1f} s; same to the last bit")


def _wait_for_step(run: Path, step: int, running: subprocess.Popen) -> None:
    while running.poll() is None:
        if (run / "metrics.jsonl").is_file() and f'"phase": "rl", "step": {step},' in (
            run / "metrics.jsonl"
        ).read_text():
            return
        time.sleep(0.05)
    raise AssertionError(running.stderr.read())


def _worker(launcher: int, rank: int) -> int:
    """The pid of a worker, from the environment of the launcher's children."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(
        int(pid) for pid in children if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{pid}/environ").read_text() + "\0"
    )
