"""The sweep script as a user calls it. What it does is tested in tests/eval/sweep."""

import pytest
import yaml

from eval.sweep.setup import parse as reader

TINY = {"tasks": {"countdown": {}}, "max_steps": 4, "validation_problems": 8, "use_cpu": True}


@pytest.fixture
def sweep(script, monkeypatch, tmp_path):
    """The script with its configs read in this process; tests/eval/sweep/setup/test_check.py has the other one."""

    def parse(configs):
        return {"gpus": 0, "parsed": [reader.parse(config, tmp_path) for config in configs]}

    monkeypatch.setattr("eval.sweep.setup.check.parse", parse)
    return lambda *arguments: script("sweep", *arguments)


def write(folder, **values):
    (folder / "base.yaml").write_text(yaml.safe_dump(TINY))
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"config": str(folder / "base.yaml"), "seeds": 2} | values))
    return path


def test_a_dry_run_prints_the_trials_and_touches_nothing(tmp_path, sweep):
    path = write(tmp_path, search={"learning_rate": [1e-4, 1e-3], "tasks.countdown.slip": [0.0, 0.2]}, workers=2)
    done = sweep(path, "--dry-run", "--folder", tmp_path / "sweep")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"4 trials x 2 seeds = 8 runs in {tmp_path}/sweep, 2 at once with")
    assert lines[4] == "    3  learning_rate 0.001, tasks.countdown.slip 0.2"
    first = f"-m train --config {tmp_path}/sweep/trials/000/trial.yaml --runs_dir {tmp_path}/sweep/trials/000"
    assert lines[-1].startswith("  accelerate launch ") and lines[-1].endswith(f"{first} --name seed-0 --seed 0")
    assert not (tmp_path / "sweep").exists()


def test_a_field_that_train_does_not_know_is_refused_before_any_work(tmp_path, sweep):
    path = write(tmp_path, search={"learning_rat": [1e-4, 1e-3]})
    done = sweep(path, "--folder", tmp_path / "sweep")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "learning_rat" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_workers_that_cannot_be_are_one_clear_line(tmp_path, sweep):
    done = sweep(write(tmp_path, search={"learning_rate": [1e-4, 1e-3]}), "--workers", 0)
    assert done.returncode == 2
    assert done.stderr == "error: workers is 0; expected a whole number, 1 or more.\n"


def test_a_folder_without_a_sweep_is_one_clear_line(tmp_path, sweep):
    done = sweep(tmp_path, "--report")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/sweep.yaml cannot be read: No such file or directory.\n"
