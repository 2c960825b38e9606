"""A run that is killed and resumed leaves what an unbroken run leaves: rollouts, metrics, weights, to the last bit."""

import errno
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml
from resuming import DYNAMIC, assert_same, die, in_child, launch, reward_anything, what_was_left, write_config
from transformers import Trainer
from trl.trainer.utils import RepeatSampler

from train.files.checkpoints import fault, seal
from train.files.run_lock import lock
from train.lifecycle.callbacks import MetricsFile
from train.lifecycle.resume import CheckpointError, EpochSampler, resume_point
from train.rewards.correctness import CorrectnessReward
from train.rollout.schedule.lengths import LengthMemory


@pytest.fixture
def broken_and_whole(tmp_path, monkeypatch, capfd):
    """Train one run through, kill and resume another, compare them; gives what the whole one left."""

    def run(killed_at, *, resumed_from, phase="rl", **values):
        config = write_config(tmp_path, **values)
        on_log = MetricsFile.on_log
        monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
        reward_anything()
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
        (6, 4, {"save_steps": 4, "method": "rft"}),
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


@pytest.mark.parametrize(
    ("killed_at", "resumed_from", "values"),
    [
        (8, 6, {}),
        (8, 5, {"save_steps": 5, "logging_steps": 3, "steps_per_generation": 4}),
        pytest.param(8, 5, {"save_steps": 5, "backend": "generate"}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_with_dynamic_sampling_goes_on_as_if_nothing_had_happened(
    broken_and_whole, killed_at, resumed_from, values
):
    whole = broken_and_whole(killed_at, resumed_from=resumed_from, **DYNAMIC | values)
    steps = [row for row in whole["metrics"] if "reward" in row]
    assert any(row["loss"] for row in steps)
    assert any(row["dynamic_sampling/replaced"] for row in steps)
    assert any('"left_out": true' in row for row in whole["rollouts"])
    assert whole["choosing"]["progress-rank0.pt"]["curriculum"]["counts"]


def test_a_cold_start_that_was_cut_off_goes_on(broken_and_whole):
    whole = broken_and_whole(20, resumed_from=18, phase="cold-start", cold_start_steps=24)
    rows = [row for row in whole["metrics"] if row["phase"] == "cold-start"]
    assert [row["step"] for row in rows] == [10, 20, 24]
    assert 0 < rows[0]["num_tokens"] < rows[1]["num_tokens"] < rows[2]["num_tokens"]  # what equal compute is charged by


def damage(folder: Path) -> None:
    """Another byte in the weights than is sealed."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


def test_a_lost_cold_start_is_passed_over_where_an_rl_checkpoint_is_whole(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()
    config = write_config(tmp_path, max_steps=2, save_steps=2, eval_strategy="no")
    for name in ("damaged", "deleted", "unhurt"):
        assert launch(config, "--name", name) == 0
    damage(tmp_path / "damaged" / "checkpoints" / "cold-start")
    shutil.rmtree(tmp_path / "deleted" / "checkpoints" / "cold-start")
    ends = {}
    for name, said in (("damaged", "checksum is another"), ("deleted", "it has no complete.json"), ("unhurt", "")):
        capfd.readouterr()
        assert launch(config, "--name", name, "--resume", "--max_steps", "4", "--save_steps", "4") == 0
        ends[name] = what_was_left(tmp_path / name, 4)
        told = capfd.readouterr().err
        assert said in told and "The cold start" not in told
        assert ("checkpoint-2 holds all that is needed of it" in told) == bool(said)
    assert_same(ends["damaged"], ends["unhurt"])
    assert_same(ends["deleted"], ends["unhurt"])


@pytest.mark.parametrize("values", [{}, {"beta": 0.1}])
def test_a_damaged_cold_start_that_is_needed_is_said_and_done_anew(tmp_path, capfd, values):
    config = write_config(tmp_path, max_steps=1, save_steps=1, eval_strategy="no", **values)
    assert launch(config, "--name", "run") == 0
    damage(tmp_path / "run" / "checkpoints" / "cold-start")
    if not values:
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "checkpoint-1")
    capfd.readouterr()
    assert launch(config, "--name", "run", "--resume") == 0
    told = capfd.readouterr().err
    assert "cold-start: model.safetensors is damaged" in told and "it is done anew" in told
    assert fault(tmp_path / "run" / "checkpoints" / "cold-start") is None


def test_a_run_killed_between_its_last_checkpoint_and_its_end_trains_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()
    config = write_config(tmp_path)
    assert launch(config, "--name", "whole") == 0
    whole = what_was_left(tmp_path / "whole", 10)
    with monkeypatch.context() as patched:
        patched.setattr("train.cold_start.publish", lambda *_: die())
        assert in_child(lambda: launch(config, "--name", "broken")) == -9
    assert launch(config, "--name", "broken", "--resume") == 0
    assert launch(config, "--name", "broken", "--resume") == 0  # it is complete
    assert_same(what_was_left(tmp_path / "broken", 10), whole)


def test_epochs_differ_in_their_order(tmp_path):
    assert launch(write_config(tmp_path, max_steps=8, eval_strategy="no", cold_start_steps=0), "--name", "run") == 0
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table().to_pylist()
    order = [row["problem"] for row in sorted(rows, key=lambda row: row["step"])][::4]  # of four samples each
    assert len(order) == 16
    assert order[:8] != order[8:] and sorted(order[:8]) == sorted(order[8:])


# With a reference, peft saves a second adapter beside the first.
@pytest.mark.parametrize("values", [{}, {"beta": 0.1}, DYNAMIC])
def test_a_killed_run_with_adapters_goes_on_as_if_nothing_had_happened(broken_and_whole, checkpoint, values):
    adapters = {"model": str(checkpoint), "scratch": None, "lora_rank": 2, "lora_alpha": 8}
    broken_and_whole(8, resumed_from=5, save_steps=5, **adapters, **values)


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


@pytest.mark.parametrize("asked", [["--max_steps", "1"], ["--max_steps", "-1", "--num_train_epochs", "0.25"]])
def test_a_run_that_has_done_all_that_is_asked_for_says_so(tmp_path, capfd, asked):
    config = write_config(tmp_path, max_steps=2, save_steps=1, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 0
    weights = (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "model.safetensors").read_bytes()
    capfd.readouterr()
    assert launch(config, "--name", "run", "--resume", *asked) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "nothing is left to train" in line]
    assert said == [
        "The run has done 2 of 1 steps: nothing is left to train. Raise max_steps, or num_train_epochs, to go on."
    ]
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "model.safetensors").read_bytes() == weights


def test_a_damaged_checkpoint_is_passed_over_and_kept_aside(tmp_path, capfd):
    config = write_config(tmp_path, max_steps=4, save_steps=2, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "broken") == launch(config, "--name", "whole") == 0
    checkpoints = tmp_path / "broken" / "checkpoints"
    with (checkpoints / "checkpoint-4" / "optimizer.pt").open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"x")
    assert launch(config, "--name", "broken", "--resume") == 0
    said = capfd.readouterr().err
    assert "Passed over" in said and "optimizer.pt is damaged" in said
    assert (checkpoints / "damaged-4").is_dir()
    assert_same(what_was_left(tmp_path / "broken", 4), what_was_left(tmp_path / "whole", 4))


def test_a_run_without_a_whole_checkpoint_is_not_started_anew_without_being_asked(tmp_path, capfd):
    config = write_config(tmp_path, max_steps=2, save_steps=1, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    for path in checkpoints.glob("*/complete.json"):
        path.unlink()
    assert launch(config, "--name", "run", "--resume") == 5
    said = capfd.readouterr().err
    assert said.count("Passed over") == 2 and "--overwrite starts the run anew" in said
    assert len(list(checkpoints.glob("checkpoint-*"))) == 2


def test_where_the_cold_start_is_whole_a_run_may_begin_from_it_again(tmp_path):
    (tmp_path / "cold-start").mkdir()
    (tmp_path / "cold-start" / "model.safetensors").write_bytes(b"weights")
    seal(tmp_path / "cold-start")
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(CheckpointError, match="is whole, but the cold start is: delete them with `rm -r"):
        resume_point(tmp_path)


def test_the_newest_and_the_best_are_kept(tmp_path, monkeypatch):
    values = iter([0.1, 0.9, 0.3, 0.2])
    evaluate = Trainer.evaluate
    monkeypatch.setattr(Trainer, "evaluate", lambda *a, **k: evaluate(*a, **k) | {"eval_accuracy": next(values)})
    options = {"save_steps": 1, "eval_steps": 1, "save_total_limit": 2, "metric_for_best_model": "accuracy"}
    config = write_config(tmp_path, max_steps=4, cold_start_steps=0, **options)
    assert launch(config, "--name", "run") == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in checkpoints.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    state = json.loads((checkpoints / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(checkpoints / "checkpoint-2")


def test_keep_last_and_keep_best_say_which_checkpoints_stay(tmp_path, monkeypatch):
    values = iter([0.1, 0.9, 0.9, 0.3, 0.2, 0.4])
    evaluate = Trainer.evaluate

    def measured(self, *args, **kwargs):
        metrics = evaluate(self, *args, **kwargs) | {"eval_accuracy": next(values)}
        self.state.log_history.append({"step": self.state.global_step, "eval_accuracy": metrics["eval_accuracy"]})
        return metrics

    monkeypatch.setattr(Trainer, "evaluate", measured)
    options = {"save_steps": 1, "eval_steps": 1, "keep_last": 2, "keep_best": 1}
    assert launch(write_config(tmp_path, max_steps=6, cold_start_steps=0, **options), "--name", "run") == 0
    kept = (tmp_path / "run" / "checkpoints").glob("checkpoint-*")
    assert sorted(path.name for path in kept) == ["checkpoint-3", "checkpoint-5", "checkpoint-6"]


def test_a_full_disk_stops_the_run_with_the_last_checkpoint_whole(tmp_path, capfd, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    config = write_config(tmp_path, max_steps=6, cold_start_steps=0, eval_strategy="no")
    save = Trainer._save_optimizer_and_scheduler
    with monkeypatch.context() as patched:
        patched.setattr(
            Trainer,
            "_save_optimizer_and_scheduler",
            lambda self, to: (save if "checkpoint-3" in to else full)(self, to),
        )
        assert launch(config, "--name", "run") == 5
    said = capfd.readouterr().err
    assert "checkpoint-6 could not be written: [Errno 28] No space left" in said and "checkpoint-3 is whole" in said
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.is_dir()] == ["checkpoint-3"]
    assert launch(config, "--name", "run", "--resume") == 0


def test_a_run_that_is_older_than_an_option_began_with_its_default(tmp_path):
    config = write_config(tmp_path, max_steps=1, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 0
    kept = tmp_path / "run" / "config.yaml"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(line for line in lines if not line.startswith("packed_loss:")))
    assert kept.read_text() != "".join(lines)
    environment = tmp_path / "run" / "environment.json"
    record = json.loads(environment.read_text())
    del record["config_sha256"]
    environment.write_text(json.dumps(record))
    assert launch(config, "--name", "run", "--resume", "--max_steps", "2", "--packed_loss", "true") == 2
    assert launch(config, "--name", "run", "--resume", "--max_steps", "2") == 0


def test_two_processes_do_not_write_to_one_run(tmp_path, capfd):
    with lock(tmp_path / "run"):
        assert launch(write_config(tmp_path), "--name", "run") == 2
    assert "is going on in another process" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_found_at_the_start(tmp_path, capfd):
    (tmp_path / "file").touch()
    assert launch(write_config(tmp_path, runs_dir=str(tmp_path / "file" / "runs")), "--name", "run") == 2
    assert "file/runs/run cannot be written: " in capfd.readouterr().err


@pytest.fixture
def read_only(tmp_path):
    """Make a folder read-only in a way that holds for root as well: mounted onto itself."""
    mounted = []

    def make(folder):
        for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("only root can mount")
            mounted.append(folder)

    yield make
    for folder in dict.fromkeys(mounted):
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("written", ["", "run", "run/checkpoints", "run/rollouts.parquet"])
def test_a_read_only_folder_is_found_at_the_start(tmp_path, capfd, read_only, written):
    runs = tmp_path / "runs"
    config = write_config(tmp_path, runs_dir=str(runs), max_steps=1, cold_start_steps=0, eval_strategy="no")
    runs.mkdir()
    resume = ["--resume", "--max_steps", "2"] if written else []
    if resume:
        assert launch(config, "--name", "run") == 0
    read_only(runs / written)
    assert launch(config, "--name", "run", *resume) == 2
    assert "runs/run cannot be written: Read-only file system." in capfd.readouterr().err


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


def test_a_full_disk_before_the_first_checkpoint_does_not_promise_one(tmp_path, capfd, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    config = write_config(tmp_path, max_steps=1, cold_start_steps=0, eval_strategy="no")
    monkeypatch.setattr(MetricsFile, "on_log", full)
    assert launch(config, "--name", "run") == 5
    said = capfd.readouterr().err
    assert "No space left on device. No checkpoint was written before it; free some space, then --resume." in said


def test_a_resumed_run_says_which_records_are_gone_and_nothing_of_a_whole_one(tmp_path, capfd):
    config = write_config(tmp_path, max_steps=3, save_steps=3, cold_start_steps=0, eval_steps=3)
    assert launch(config, "--name", "run") == 0
    run = tmp_path / "run"
    assert launch(config, "--name", "run", "--resume") == 0
    assert "lacks" not in capfd.readouterr().err
    (run / "rollouts.parquet" / "train-000002-rank0-000.parquet").unlink()
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if json.loads(line)["step"] != 1]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert launch(config, "--name", "run", "--resume") == 0
    said = capfd.readouterr().err
    assert "metrics.jsonl lacks 1 logged step (the first is 1)" in said
    assert "rollouts.parquet lacks the rollouts of 1 step (the first is 2)" in said
