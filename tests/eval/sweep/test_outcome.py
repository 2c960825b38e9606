"""What an exit code and an output come to, with the launchers' own words."""

import subprocess
import sys

import pytest

from eval.sweep.trials.outcome import LINES, last_lines, read_outcome, train_code

FAILING = "import sys; print('error: mine', file=sys.stderr); sys.exit(3)"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "failing.py").write_text(FAILING)
    (folder / "killed.py").write_text("import os; print('hello'); os.kill(os.getpid(), 9)")
    return folder


ACCELERATE = ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "1"]


@pytest.mark.parametrize("launcher", [ACCELERATE, TORCHRUN], ids=["accelerate", "torchrun"])
@pytest.mark.parametrize(("script", "code", "said"), [("failing", 3, "error: mine"), ("killed", -9, "hello")])
def test_the_launchers_exit_with_1_and_say_the_code_of_the_training(scripts, launcher, script, code, said):
    words = [sys.executable, "-m", *launcher, str(scripts / f"{script}.py")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1
    assert train_code(1, done.stdout) == code
    assert said in last_lines(done.stdout) and not any("Traceback" in line for line in last_lines(done.stdout))


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (0, "done", "done"),
        (2, "refused", "refused before any work"),
        (3, "guard", "stopped by a guard"),
        (4, "failed", "failed: stopped by a signal that the sweep did not send"),
        (1, "failed", "failed: exit code 1"),
        (6, "failed", "failed: another of its processes died"),
        (137, "failed", "failed: killed by SIGKILL, as when memory runs out"),
        (143, "failed", "failed: killed by SIGTERM"),
    ],
)
def test_each_exit_code_is_what_it_is(code, state, words):
    outcome = read_outcome(code, "")
    assert (outcome.state, outcome.words) == (state, words)


def test_only_the_last_lines_are_kept_without_bars_and_without_the_launchers_traceback():
    own = "Traceback (most recent call last):\n  File 'train'\nValueError: no\n"
    launchers = (
        'Traceback (most recent call last):\n  File "/x/accelerate/commands/launch.py", line 9\nCalled: status 1.\n'
    )
    bar = "cold:  10%|█ | 1/10 [00:01<?]\rcold:  20%|██ | 2/10 [00:02<?]"
    text = "\n".join(f"line {i}" for i in range(30)) + f"\n{bar}\n{own}{bar}{launchers}"
    lines = last_lines(text)
    assert len(lines) == LINES
    assert lines[-3:] == ("Traceback (most recent call last):", "  File 'train'", "ValueError: no")
    assert lines[-4] == "line 29"


def test_a_word_of_the_launcher_in_a_run_that_went_well_is_no_failure():
    assert read_outcome(0, "a verifier said: returned non-zero exit status 2.").state == "done"
