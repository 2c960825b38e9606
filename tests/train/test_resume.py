"""A run that is killed and resumed leaves what an unbroken run leaves: rollouts, metrics, weights, to the last bit."""

import pyarrow.dataset as ds
import pytest
import yaml
from resuming import assert_same, die, in_child, launch, what_was_left, write_config
from trl.trainer.utils import RepeatSampler

from train.callbacks import MetricsFile
from train.resume import EpochSampler
from train.rewards import CorrectnessReward
from train.rollout.lengths import LengthMemory


@pytest.fixture
def broken_and_whole(tmp_path, monkeypatch, capfd):
    """Train one run through, kill and resume another, compare them; gives what the whole one left."""

    def run(killed_at, *, resumed_from, phase="rl", **values):
        config = write_config(tmp_path, **values)
        row, on_log = CorrectnessReward._row, MetricsFile.on_log
        # The tiny model is never right, and without a reward nothing would be trained.
        monkeypatch.setattr(
            CorrectnessReward, "_row", lambda self, ids, problem: row(self, ids, problem) | {"reward": sum(ids) % 3}
        )
        assert launch(config, "--name", "whole") == 0

        def log_and_die(self, args, state, control, logs, **_):
            on_log(self, args, state, control, logs)
            if self.phase == phase and state.global_step == killed_at:
                die()

        with monkeypatch.context() as patched:
            patched.setattr(MetricsFile, "on_log", log_and_die)
            assert in_child(lambda: launch(config, "--name", "broken")) == -9
        capfd.readouterr()
        assert launch(config, "--name", "broken", "--resume") == 0
        assert f"checkpoint-{resumed_from}." in capfd.readouterr().err
        whole = what_was_left(tmp_path / "whole", 10)
        assert_same(what_was_left(tmp_path / "broken", 10), whole)
        return whole

    return run


@pytest.mark.parametrize(
    ("killed_at", "resumed_from", "values"),
    [
        (8, 6, {}),  # in the second epoch, an evaluation to be repeated
        (6, 4, {"save_steps": 4}),  # from the seam of two epochs
        (8, 5, {"save_steps": 5, "logging_steps": 3, "steps_per_generation": 4}),  # rollouts and metrics in store
        pytest.param(8, 5, {"save_steps": 5, "num_iterations": 3}, marks=pytest.mark.slow),
        (8, 5, {"save_steps": 5, "beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 2}),
        pytest.param(8, 5, {"save_steps": 5, "backend": "generate", "eval_on_start": True}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(broken_and_whole, killed_at, resumed_from, values):
    whole = broken_and_whole(killed_at, resumed_from=resumed_from, **values)
    losses = [row["loss"] for row in whole["metrics"] if "reward" in row]
    assert any(losses)  # so that weights and metrics had a reason to differ


def test_a_cold_start_that_was_cut_off_goes_on(broken_and_whole):
    whole = broken_and_whole(20, resumed_from=18, phase="cold-start", cold_start_steps=24)
    assert [row["step"] for row in whole["metrics"] if row["phase"] == "cold-start"] == [10, 20, 24]


def test_epochs_differ_in_their_order(tmp_path):
    assert launch(write_config(tmp_path, max_steps=8, eval_strategy="no", cold_start_steps=0), "--name", "run") == 0
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table().to_pylist()
    order = [row["problem"] for row in sorted(rows, key=lambda row: row["step"])][::4]  # of four samples each
    assert len(order) == 16
    assert order[:8] != order[8:] and sorted(order[:8]) == sorted(order[8:])


@pytest.mark.parametrize("beta", [0.0, 0.1])  # with a reference, peft saves a second adapter beside the first
def test_so_does_one_with_adapters(broken_and_whole, checkpoint, beta):
    broken_and_whole(
        8, resumed_from=5, save_steps=5, model=str(checkpoint), scratch=None, lora_rank=2, beta=beta, lora_alpha=8
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [("--learning_rate=0.5", "learning_rate was 0.01 and is 0.5"), ("--train_problems=9", "train_problems was 8")],
)
def test_a_run_does_not_go_on_under_other_settings(tmp_path, capfd, option, message):
    config = write_config(tmp_path, max_steps=1)
    assert launch(config, "--name", "run") == 0
    assert launch(config, "--name", "run", "--resume", option) == 2
    assert message in capfd.readouterr().err
    assert launch(config, "--name", "run", "--resume", "--max_steps", "2", "--logging_steps", "2") == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["max_steps"] == 2


def test_every_epoch_has_the_order_that_an_unbroken_run_gives_it():
    def sampler():
        return RepeatSampler(range(30), mini_repeat_count=2, batch_size=3, repeat_count=2, seed=5)

    unbroken = sampler()
    orders = [list(unbroken) for _ in range(4)]
    assert orders[0] != orders[1] != orders[2]
    ours = EpochSampler(sampler())
    for ours.epoch in (2, 0, 3, 1):
        assert list(ours) == orders[ours.epoch]
    assert len(ours) == len(orders[0])


def test_the_engines_memory_of_lengths_survives_a_checkpoint():
    before = LengthMemory()
    before.remember([[1, 2], [3]], 2, [4, 6, 1, 1])
    after = LengthMemory()
    after.load_state_dict(before.state_dict())
    assert (after.expected([1, 2]), after.expected([3]), after.expected([2, 1])) == (5, 1, None)
    assert (after.typical(100), after.typical(2), LengthMemory().typical(100)) == (3, 2, 50)
