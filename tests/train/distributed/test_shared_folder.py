"""Several machines, played by processes that say they are on different ones."""

import json
import os
import socket
import subprocess
import sys

import pyarrow.dataset as ds
import pytest
from launching import ACCELERATE, ROOT, in_processes
from patience import PATIENCE
from resuming import launch, write_config

from train.distributed import shared_folder

VALUES = {"cold_start_steps": 2, "max_steps": 2, "save_steps": 2, "eval_strategy": "no"}


def test_two_machines_with_one_folder_train(tmp_path):
    config = write_config(tmp_path, **VALUES)
    assert in_processes(2, {}, lambda: launch(config, "--name", "run"), nodes=2) == [0, 0]
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table(columns=["step"]).to_pylist()
    assert len(rows) == 2 * 2 * 8
    assert {path.name for path in tmp_path.iterdir()} == {
        "run",
        ".run.lock",
        "small.yaml",
    }  # no more


def test_machines_that_do_not_share_the_folder_are_refused_before_any_work(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(shared_folder, "PATIENCE", 0.1)
    config = write_config(tmp_path, **VALUES)

    def work():
        return launch(config, "--name", "run", "--runs_dir", str(tmp_path / f"machine-{os.environ['RANK']}"))

    assert in_processes(2, {}, work, nodes=2) == [2, 2]
    said = capfd.readouterr().err
    assert said.count("error: ") == 1
    assert f"1 of 2 processes, on {socket.gethostname()}, do not see" in said and "set --runs_dir" in said
    assert not list((tmp_path / "machine-0").iterdir())


@pytest.mark.slow
def test_two_launchers_give_a_working_run(tmp_path):
    config = write_config(tmp_path, **VALUES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", ACCELERATE / "multi-node.yaml"]
    here = ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "--num_processes", "2"]
    environment = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [*launcher, *here, "--machine_rank", rank, "-m", "train", "--config", config, "--name", "run"],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["launch"], environment["processes"]) == ("DDP", 2)
    parts = {path.name.split("-")[2] for path in (tmp_path / "run" / "rollouts.parquet").glob("train-*")}
    assert parts == {"rank0", "rank1"}
