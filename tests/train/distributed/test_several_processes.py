"""Two and four processes train what one process trains, with whole weights (DDP) and with sharded ones (FSDP2)."""

import importlib.util
import json
import math
import os
import subprocess
import sys

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from launching import ACCELERATE, ROOT, in_processes, launch_environment
from resuming import DYNAMIC, SMALL, assert_same, in_child, launch, reward_anything, what_was_left, write_config
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from train.model.scratch import build_model
from train.rewards.correctness import CorrectnessReward
from train.rollout.parity import gate as parity
from train.rollout.parity.gate import ParityError

STEPS = 3
ROWS = 16  # of one update, however many processes share them
VALUES = {
    "scratch": None,
    "train_problems": 16,
    "cold_start_learning_rate": 1.0e-4,
    "learning_rate": 1.0e-3,
    "max_steps": STEPS,
    "save_steps": STEPS,
    "max_completion_length": 60,
    "eval_steps": 2,
}
SAME = ("loss", "grad_norm", "reward", "accuracy", "thinking_tokens", "num_tokens", "eval_reward", "eval_num_tokens")


@pytest.fixture(autouse=True)
def rewarded(monkeypatch):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()


def shared_by(processes: int) -> dict[str, int]:
    """The part of each process, where they share the same rows and demonstrations."""
    return {"gradient_accumulation_steps": ROWS // 4 // processes, "cold_start_batch_size": 8 // processes}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    """A checkpoint with random weights whose rollouts end early, each at another step: one token in eight ends them."""
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    made = build_model(SMALL["scratch"] | {"num_hidden_layers": 2}, tokenizer)
    made.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(20, 40)]
    made.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, model):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    config = write_config(folder, model=model, **VALUES, **shared_by(1))

    def work():
        reward_anything()
        return launch(config, "--name", "run")

    assert in_child(work) == 0
    return folder / "run"


def assert_trained_the_same(run, other):
    """The same rollouts, and the same loss, gradient and weights but for rounding."""
    columns = ["step", "split", "problem", "completion_ids", "reward"]
    rollouts = [
        sorted(ds.dataset(path / "rollouts.parquet").to_table(columns=columns).to_pylist(), key=str)
        for path in (run, other)
    ]
    assert rollouts[0] == rollouts[1]
    metrics = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (run, other)
    ]
    compared = 0
    for ours, theirs in zip(*metrics, strict=True):
        for name in SAME:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], abs=1e-5), (name, ours["step"])
                compared += bool(theirs[name])
    assert compared > 10
    for checkpoint in ("cold-start", f"checkpoint-{STEPS}"):
        ours, theirs = (load_file(path / "checkpoints" / checkpoint / "model.safetensors") for path in (run, other))
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            torch.testing.assert_close(ours[name], weight, atol=1e-5, rtol=0)
        AutoModelForCausalLM.from_pretrained(run / "checkpoints" / checkpoint)


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_two_processes_train_what_one_does(tmp_path, model, alone, name):
    config = write_config(tmp_path, model=model, **VALUES, **shared_by(2))
    codes = in_processes(2, launch_environment(name, 2), lambda: launch(config, "--name", "run"))
    assert codes == [0, 0]
    assert_trained_the_same(tmp_path / "run", alone)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["launch"] == name.upper() and environment["processes"] == 2
    # Neither waited in a forward for the other, whose rollouts were shorter or longer.
    parts = [sorted((tmp_path / "run" / "rollouts.parquet").glob(f"train-*-rank{rank}-*")) for rank in (0, 1)]
    longest = [[max(map(len, pq.read_table(part)["completion_ids"].to_pylist())) for part in own] for own in parts]
    assert all(ours != theirs for ours, theirs in zip(*longest, strict=True)), longest


def launch_really(name, processes, script, *arguments, **environment):
    """Go through `accelerate launch` itself."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", ACCELERATE / f"{name}.yaml"]
    command += ["--num_processes", str(processes), "--main_process_port", "0", ROOT / "tests/support" / script]
    paths = [str(ROOT), str(ROOT / "tests/support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([*command, *arguments], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_four_processes_of_the_real_launcher_train_what_one_does(tmp_path, model, alone, name):
    config = write_config(tmp_path, model=model, **VALUES, **shared_by(4))
    launch_really(name, 4, "resuming.py", "--config", config, "--name", "run", ACCELERATE_USE_CPU="1")
    assert_trained_the_same(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_deepspeed_on_two_processes_trains_what_one_does_even_resumed(tmp_path, model, alone, name):
    values = VALUES | shared_by(2) | {"use_cpu": False, "bf16": False, "save_steps": 1}
    config = write_config(tmp_path, model=model, **values)
    for options in (("--max_steps", "2"), ("--resume",)):
        launch_really(name, 2, "deepspeed_on_cpu.py", "--config", config, "--name", "run", *options)
    assert_trained_the_same(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"lora_rank": 2},
        {"beta": 0.1},
        {"gradient_checkpointing": True},
        {"loss_type": "dapo"},
        {"loss_type": "grpo"},
    ],
    ids=str,
)
def test_sharded_weights_train_what_one_process_does(tmp_path, model, values):
    plain = {"model": model, "cold_start_steps": 0, "eval_strategy": "no"}
    runs = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        config = write_config(folder, **VALUES | plain | values | shared_by(processes))
        environment = launch_environment("fsdp2", 2) if processes == 2 else {}
        codes = in_processes(processes, environment, lambda config=config: launch(config, "--name", "run"))
        assert codes == [0] * processes
        runs.append(folder / "run")
    losses = [
        [row["loss"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "reward" in row]
        for run in runs
    ]
    assert any(losses[0]) and losses[1] == pytest.approx(losses[0], abs=1e-5)
    one, two = (load_file(next(run.glob("checkpoints/checkpoint-*/*model.safetensors"))) for run in runs)
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=0)  # Adam's first steps are signs


@pytest.mark.slow
@pytest.mark.parametrize("values", [{}, {"lora_rank": 2}, DYNAMIC], ids=str)
def test_a_sharded_run_that_is_resumed_ends_as_one_that_was_not(tmp_path, model, values):
    plain = {"model": model, "cold_start_steps": 0, "eval_strategy": "no", "save_steps": 2, "max_steps": 4}
    config = write_config(tmp_path, **VALUES | plain | values | shared_by(2))
    environment = launch_environment("fsdp2", 2)
    for options in (["whole"], ["broken", "--max_steps", "2"], ["broken", "--resume"]):
        assert in_processes(2, environment, lambda options=options: launch(config, "--name", *options)) == [0, 0]
    broken, whole = (_without_fsdps_own(tmp_path / name) for name in ("broken", "whole"))
    broken["metrics"] = [row for row in broken["metrics"] if "train_loss" not in row or row["step"] == 4]
    assert_same(broken, whole)


def _without_fsdps_own(run):
    """What was left; FSDP keeps the moments in a file of its own, which is compared with the rest."""
    checkpoint = run / "checkpoints" / "checkpoint-4"
    moments = torch.load(checkpoint / "optimizer.bin", weights_only=True)
    torch.save({"state": moments["state"]}, checkpoint / "optimizer.pt")
    return what_was_left(run, 4)


def test_a_sharded_step_that_is_not_finite_in_one_process_is_skipped_by_both(tmp_path, model, monkeypatch):
    compute = GRPOTrainer._compute_loss

    def loss(self, model, inputs):
        poisoned = self.args.process_index == 1 and self.state.global_step + 1 == 2
        return compute(self, model, inputs) * (3e38 if poisoned else 1.0)  # a finite loss with an infinite gradient

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", loss)
    plain = {"model": model, "cold_start_steps": 0, "eval_strategy": "no", "save_steps": 1}
    config = write_config(tmp_path, **VALUES | plain | shared_by(2))
    codes = in_processes(2, launch_environment("fsdp2", 2), lambda: launch(config, "--name", "run"))
    assert codes == [0, 0]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["nonfinite_steps"] for row in rows if "reward" in row] == [0, 1, 1]
    weights = [load_file(tmp_path / "run" / "checkpoints" / f"checkpoint-{n}" / "model.safetensors") for n in (1, 2, 3)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    assert all(math.isfinite(float(value.sum())) for value in weights[2].values())
    assert len(list((tmp_path / "run" / "nonfinite").iterdir())) == 2


def test_a_run_does_not_go_on_with_weights_kept_otherwise(tmp_path, model, capfd):
    plain = {"model": model, "cold_start_steps": 0, "eval_strategy": "no", "save_steps": 1, "max_steps": 1}
    config = write_config(tmp_path, **VALUES | plain | shared_by(2))
    assert in_processes(2, {}, lambda: launch(config, "--name", "run")) == [0, 0]
    resumed = in_processes(2, launch_environment("fsdp2", 2), lambda: launch(config, "--name", "run", "--resume"))
    assert resumed == [2, 2]
    assert "The run began with DDP, and this would go on with FSDP2" in capfd.readouterr().err


def test_a_process_that_alone_leaves_the_trainer_stops_the_other_and_says_why(tmp_path, model, monkeypatch, capfd):
    def check(*args, **options):
        if os.environ["RANK"] == "1":
            raise ParityError("the engine is off")
        return whole(*args, **options)

    whole = parity.check
    monkeypatch.setattr(parity, "check", check)
    plain = {"model": model, "cold_start_steps": 0, "eval_strategy": "no"}
    config = write_config(tmp_path, **VALUES | plain | shared_by(2))
    assert in_processes(2, {}, lambda: launch(config, "--name", "run")) == [6, 3]
    said = capfd.readouterr().err
    assert "Stopped: the engine is off" in said and "The process of rank 1 (pid" in said
