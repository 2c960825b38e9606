import json

import pytest

from train.lifecycle.lost_records import lost_records


@pytest.fixture
def run(tmp_path):
    """A run of six steps, each logged and sampled."""
    (tmp_path / "rollouts.parquet").mkdir()
    lines = [json.dumps({"phase": "rl", "step": step, "reward": 0.5}) for step in range(1, 7)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for step in range(1, 7):
        (tmp_path / "rollouts.parquet" / f"train-{step:06d}-rank0-000.parquet").touch()
    (tmp_path / "checkpoint-6").mkdir()
    history = [{"step": step, "reward": 0.5} for step in range(1, 7)] + [{"step": 6, "eval_accuracy": 1.0}]
    state = {"global_step": 6, "log_history": history}
    (tmp_path / "checkpoint-6" / "trainer_state.json").write_text(json.dumps(state))
    return tmp_path


def test_a_run_that_kept_everything_has_nothing_to_say(run):
    assert list(lost_records(run, run / "checkpoint-6", every_step=True)) == []


def test_lines_that_are_missing_or_cut_off_are_said(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:2], *lines[3:5], lines[5][:9]]))
    (said,) = lost_records(run, run / "checkpoint-6", every_step=True)
    assert said.startswith("metrics.jsonl lacks 2 of the 6 steps before, the first is step 3:")


def test_parts_of_rollouts_that_are_missing_are_said(run):
    (run / "rollouts.parquet" / "train-000004-rank0-000.parquet").unlink()
    (said,) = lost_records(run, run / "checkpoint-6", every_step=True)
    assert said.startswith("rollouts.parquet lacks 1 of the 6 steps before, the first is step 4:")
    assert list(lost_records(run, run / "checkpoint-6", every_step=False)) == []
