"""The command of a run, its share of the machine, and how it is held."""

import sys

import psutil
import pytest
from patience import PATIENCE
from stubbed import spec

from eval.sweep.trials import trial_launch as module
from eval.sweep.trials.records import Run
from eval.sweep.trials.trial_launch import Slot, command, environment, launch, show_command
from train.files.run_lock import lock


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.02)
    found = Run(3, 1, tmp_path / "trials" / "003" / "seed-1")
    found.folder.parent.mkdir(parents=True)
    return found


def options(words):
    """The launcher's options and what they are given, up to -m."""
    return words[3 : words.index("-m", 3)]


def test_a_run_on_a_cpu_has_its_threads_and_sees_no_gpu(run):
    words = command(spec(threads=3), run, Slot(0))
    assert words[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert "--cpu" in options(words) and "--multi_gpu" not in options(words)
    assert options(words)[options(words).index("--num_cpu_threads_per_process") + 1] == "3"
    place = run.folder.parent
    assert words[words.index("-m", 3) :] == [
        *("-m", "train", "--config", f"{place}/trial.yaml", "--runs_dir", str(place), "--name", "seed-1", "--seed", "1")
    ]
    assert environment(Slot(0))["CUDA_VISIBLE_DEVICES"] == ""
    assert environment(Slot(0, threads=3))["OMP_NUM_THREADS"] == "3"


def test_a_run_that_was_begun_is_resumed(run):
    run.folder.mkdir()
    assert "--resume" not in command(spec(), run, Slot(0))
    (run.folder / "config.yaml").touch()
    assert command(spec(), run, Slot(0))[-1] == "--resume"


def test_a_run_has_the_gpus_of_its_slot_and_one_process_for_each(run):
    one, two = (options(command(spec(), run, Slot(0, gpus))) for gpus in (("3",), ("3", "5")))
    assert "--cpu" not in one and "--multi_gpu" not in one and "--main_process_port" not in one
    assert "--multi_gpu" in two and two[two.index("--num_processes") + 1] == "2"
    assert two[two.index("--main_process_port") + 1] == "0"  # two such runs on a machine must not share one
    assert environment(Slot(0, ("3", "5")))["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert show_command(spec(), run, Slot(0, ("3", "5"))).startswith("CUDA_VISIBLE_DEVICES=3,5 accelerate launch ")


def test_what_the_spec_gives_the_launcher_stands(run):
    given = ("--config_file", "fsdp.yaml", "--num_processes", "4")
    words = options(command(spec(launch=given), run, Slot(0, ("0", "1"))))
    assert words[-4:] == list(given) and words.count("--num_processes") == 1
    assert "--multi_gpu" not in words and "--mixed_precision" not in words  # the file says it


def python(code):
    return [sys.executable, "-c", code]


def test_what_a_run_says_goes_to_its_log_and_only_this_attempts_is_read(run):
    assert launch(python("print('first')"), run, Slot(0), lambda: False) == (0, "first\n")
    code = "import sys, os; print(os.environ['CUDA_VISIBLE_DEVICES'], file=sys.stderr); sys.exit(3)"
    assert launch(python(code), run, Slot(0, ("7",)), lambda: False) == (3, "7\n")
    assert run.log.read_text().count("$ ") == 2


def test_a_run_that_another_process_holds_is_waited_for(run):
    looks = []

    def stop():
        looks.append(1)
        if len(looks) == 3:
            held.release()
        return False

    held = lock(run.folder)
    assert launch(python("print('mine')"), run, Slot(0), stop) == (0, "mine\n")
    assert len(looks) >= 3


def test_while_it_waits_for_a_run_it_can_be_stopped(run):
    with lock(run.folder):
        assert launch(python("print('mine')"), run, Slot(0), lambda: True) is None
    assert not run.log.exists()


def test_an_error_while_a_run_goes_on_does_not_leave_it_behind(run):
    waiting = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"

    def broken():
        if (run.folder.parent / "pid").exists() and (run.folder.parent / "pid").read_text():
            raise ZeroDivisionError
        return False

    with pytest.raises(ZeroDivisionError):
        launch(python(f"import os; os.chdir({str(run.folder.parent)!r}); {waiting}"), run, Slot(0), broken)
    left = int((run.folder.parent / "pid").read_text())
    assert not psutil.pid_exists(left) or not psutil.wait_procs([psutil.Process(left)], timeout=PATIENCE)[1]
