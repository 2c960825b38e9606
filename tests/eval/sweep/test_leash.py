"""A run on its leash: asked to stop, or left by a sweep that died, its training ends in good order."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE

from eval.sweep.trials.trial_launch import end_group

ROOT = Path(__file__).parents[3]
# A training, behind a launcher that is none the wiser, that finishes its step when it is asked to stop.
TRAINING = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print("ready", flush=True)
while not asked: time.sleep(0.01)
print("saved", flush=True)
sys.exit(4)
"""
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
LEASH = "import sys; from eval.sweep.trials import leash; leash.GRACE = float(sys.argv.pop(1)); sys.exit(leash.main())"


def hold(training, grace=60):
    words = [sys.executable, "-c", LEASH, str(grace), sys.executable, "-c", LAUNCHER, training]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    return process, psutil.Process(process.pid).children(recursive=True)


def test_a_training_that_is_let_go_saves_and_its_exit_code_comes_through():
    process, _ = hold(TRAINING)
    process.stdin.close()
    assert process.wait(PATIENCE) == 4
    assert process.stdout.read() == "saved\n"


def test_a_training_whose_sweep_was_killed_saves():
    sweep = subprocess.Popen(
        [sys.executable, "-c", "import sys, subprocess; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); "
         "p.wait()", sys.executable, "-c", LEASH, "60", sys.executable, "-c", LAUNCHER, TRAINING],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert sweep.stdout.readline() == "ready\n"
    family = psutil.Process(sweep.pid).children(recursive=True)
    assert len(family) == 3
    sweep.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive
    assert sweep.stdout.read() == "saved\n"


def test_a_training_that_does_not_end_is_killed_when_its_time_is_over():
    process, family = hold(STUBBORN, grace=0.2)
    process.stdin.close()
    assert process.wait(PATIENCE) == -9
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]


def test_a_training_whose_leash_was_killed_is_ended_by_its_sweep():
    process, family = hold(TRAINING)
    process.kill()
    assert process.wait(PATIENCE) == -9
    assert any(member.is_running() for member in family)
    end_group(process.pid)
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    assert process.stdout.read() == "saved\n"


@pytest.mark.parametrize(
    ("code", "told"), [("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_commands_end_is_the_leashs(code, told):
    words = [sys.executable, "-c", LEASH, "60", sys.executable, "-c", code]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == told
