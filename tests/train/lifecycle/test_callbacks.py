import json
import shutil

import pytest
from transformers import TrainerControl, TrainerState

from train.files.checkpoints import seal
from train.files.untrusted import metrics_parts, read_metrics
from train.lifecycle import callbacks
from train.lifecycle.callbacks import WINDOW, CollapseGuard, MetricsFile
from train.lifecycle.run_folder import truncate_metrics


def feed(guard, rewards):
    """Log one reward a step; returns the step at which the guard stopped the run, or None."""
    control = TrainerControl()
    for step, reward in enumerate(rewards, 1):
        guard.on_log(None, TrainerState(global_step=step), control, {"reward": reward})
        if control.should_training_stop:
            return step
    return None


def test_a_collapse_stops_the_run_and_names_the_checkpoint_to_go_back_to(tmp_path):
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
        seal(tmp_path / f"checkpoint-{step}")
    guard = CollapseGuard(0.5, tmp_path)
    stopped = feed(guard, [0.4] * 12 + [0.02] * 20)
    assert stopped is not None and stopped <= 12 + WINDOW
    assert "checkpoint-5:" in guard.message  # the newest one that is no later than the best mean, at step 8
    assert "0.400" in guard.message


def test_without_a_checkpoint_it_is_back_to_the_cold_start(tmp_path):
    (tmp_path / "cold-start").mkdir()
    seal(tmp_path / "cold-start")
    guard = CollapseGuard(0.5, tmp_path)
    feed(guard, [0.4] * 8 + [0.0] * 20)
    assert "cold-start" in guard.message
    shutil.rmtree(tmp_path / "cold-start")
    guard = CollapseGuard(0.5, tmp_path)
    feed(guard, [0.4] * 8 + [0.0] * 20)
    assert "No checkpoint was saved" in guard.message


@pytest.mark.parametrize(
    "rewards", [[0.1 * (i % 3) for i in range(60)], [i / 100 for i in range(60)], [0.4] * 8 + [0.3] * 40]
)
def test_noise_and_a_slow_drift_do_not_stop_a_run(tmp_path, rewards):
    assert feed(CollapseGuard(0.5, tmp_path), rewards) is None


def test_a_fraction_of_zero_turns_the_guard_off(tmp_path):
    assert feed(CollapseGuard(0.0, tmp_path), [0.5] * 8 + [0.0] * 30) is None


def test_metrics_are_lines_of_json_and_a_resumed_run_drops_the_later_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    state = TrainerState()
    state.is_world_process_zero = True
    for phase, steps in (("cold-start", (10, 20)), ("rl", (1, 2, 3))):
        for state.global_step in steps:
            MetricsFile(path, phase).on_log(None, state, TrainerControl(), {"loss": 0.5})
    path.write_text(path.read_text() + '{"phase": "rl", "st')  # cut off by a kill
    truncate_metrics(path, "rl", 2)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["phase"], row["step"]) for row in rows] == [
        ("cold-start", 10),
        ("cold-start", 20),
        ("rl", 1),
        ("rl", 2),
    ]


def test_a_full_metrics_file_is_rotated_and_all_parts_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "PART_BYTES", 300)
    path = tmp_path / "metrics.jsonl"
    logged = MetricsFile(path, "rl")
    for step in range(1, 21):
        logged.on_log(None, TrainerState(global_step=step), None, {"reward": 0.5})
    assert [part.name for part in metrics_parts(path)][:2] == ["metrics-000.jsonl", "metrics-001.jsonl"]
    assert [row["step"] for row in read_metrics(path)] == list(range(1, 21))
    truncate_metrics(path, "rl", 2)
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    MetricsFile(path, "rl").on_log(None, TrainerState(global_step=3), None, {"reward": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
