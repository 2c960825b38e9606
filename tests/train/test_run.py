"""The command line from end to end: what is refused, and a tiny run that trains, resumes and can be read."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml
from launching import in_processes
from transformers import AutoModelForCausalLM, AutoTokenizer

import train.gate
from train.__main__ import main

ROOT = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "scratch": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "tasks": {"arithmetic": {}, "countdown": {}},
    "train_problems": 40,
    "validation_problems": 4,
    "cold_start_steps": 2,
    "cold_start_batch_size": 4,
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 12,
    "save_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "per_device_eval_batch_size": 4,
    "use_cpu": True,
}


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd):
    """Run `-m train` in this process on a config of these values; gives the exit code and what it said."""

    def run(*arguments, **values):
        config = tmp_path / "tiny.yaml"
        config.write_text(yaml.safe_dump(TINY | {"runs_dir": str(tmp_path / "runs")} | values))
        monkeypatch.setattr(sys, "argv", ["train", "--config", str(config), *arguments])
        code = main()
        return code, capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"tasks": {"chess": {}}}, "Unknown task 'chess'"),
        ({"model": "./no/such/model", "scratch": None}, "no/such/model"),
        ({"num_generations": 3}, "num_generations (3)"),
        (
            {"dynamic_sampling": True, "train_problems": 1},
            "chooses problems, but only 1 of them differ",
        ),
        ({"validation_problems": 500, "tasks": {"countdown": {}}}, "distinct validation problems"),
    ],
)
def test_a_faulty_config_stops_before_any_work_with_one_clear_line(launch, tmp_path, values, message):
    code, said = launch(**values)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reward_weights": [1.0, 1.0]}, "reward_weights is [1.0, 1.0]; expected 1"),
        ({"use_liger_kernel": True}, "use_liger_kernel is set, but it is not installed"),
        ({"sync_ref_model": True}, "sync_ref_model is set, but beta is 0"),
        ({"push_to_hub": True}, "push_to_hub is set, but the hub does not take uploads from here"),
        ({"log_completions": True, "log_completions_hub_repo": "a/b"}, "log_completions_hub_repo is set, but the hub"),
        ({"beta": 0.1, "cold_start_steps": 0}, "beta is 0.1, but model is scratch without a cold start"),
        ({"eval_on_start": True, "validation_problems": 0}, "validation_problems is 0, but"),
        ({"fp16": True}, "fp16"),
        ({"reward_weights": [-1.0]}, "reward_weights is [-1.0], so right answers earn nothing"),
        ({"reward_weights": [0]}, "expected a weight above 0"),
        ({"optim": "adamw_bnb_8bit"}, "optim adamw_bnb_8bit cannot be built: You need to install `bitsandbytes`"),
        ({"optim_args": "rank"}, "optim adamw_torch_fused with optim_args 'rank' cannot be built: expected name=value"),
        ({"optim_args": "rank=4"}, "optim_args sets rank, which optim adamw_torch_fused does not read; leave it out."),
        ({"optim": "sgd", "optim_args": "momentum=x"}, "could not convert string to float"),
        (
            {"optim_target_modules": ["all"]},
            "optim_target_modules is ['all'], which optim adamw_torch",
        ),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type cosine_with_min_lr cannot be built"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "missing 1 required positional argument: 'num_decay_steps'"),
        ({"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"x": 1}}, "with lr_scheduler_kwargs {'x': 1} cannot"),
        (
            {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": -1}},
            "times the learning rate at some step; expected 0 to 1",
        ),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1.0}},
            "times the learning rate at some step; expected 0 to 1",
        ),
        ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": -1}}, "0.0 cannot be raised to a neg"),
        ({"lr_scheduler_kwargs": {"x": 1}}, "lr_scheduler_type is constant_with_warmup, which takes none"),
        ({"accelerator_config": {"dispatch_batches": True}}, "accelerator_config sets dispatch_batches"),
        ({"accelerator_config": {"x": 1}}, "accelerator_config is {'x': 1}, which TRL does not take"),
        ({"accelerator_config": "no.json"}, "accelerator_config is 'no.json', which TRL does not take"),
        ({"parallelism_config": "x"}, "parallelism_config is 'x', which TRL does not take"),
        ({"pad_to_multiple_of": "x"}, "pad_to_multiple_of is 'x'; expected a whole number"),
        ({"lora_rank": 4, "cast_lm_head_to_fp32": True, "model": "scratch"}, "model is scratch"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"cache_gib": 0}, "cache_gib is 0"),
        ({"cache_gib": 1e-6}, "too few for one rollout"),
    ],
)
def test_what_would_fail_late_is_refused_first_and_overwrites_nothing(launch, tmp_path, values, message):
    old = tmp_path / "runs" / "tiny"
    old.mkdir(parents=True)
    (old / "config.yaml").write_text("the old run")
    code, said = launch("--overwrite", **values)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and message in errors[0]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]
    assert (old / "config.yaml").read_text() == "the old run"


def test_a_run_that_dies_before_its_first_step_gives_back_what_it_was_to_overwrite(launch, tmp_path, monkeypatch):
    old = tmp_path / "runs" / "tiny"
    old.mkdir(parents=True)
    (old / "config.yaml").write_text("the old run")

    def die(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr("train.run.cold_start", die)
    with pytest.raises(RuntimeError, match="no memory"):
        launch("--overwrite")
    assert (old / "config.yaml").read_text() == "the old run"
    shutil.rmtree(old)
    with pytest.raises(RuntimeError, match="no memory"):
        launch()
    assert not old.exists()


def test_a_checkpoint_that_is_none_is_refused(launch, tmp_path):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "notes.txt").write_text("x")
    code, said = launch(model=str(tmp_path / "junk"), scratch=None)
    assert code == 2 and "is not a checkpoint" in said and "notes.txt" in said


def test_a_chat_template_that_would_spoil_the_run_is_refused(launch, checkpoint, tmp_path):
    (tmp_path / "no-end.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    code, said = launch(model=str(checkpoint), scratch=None, chat_template=str(tmp_path / "no-end.jinja"))
    assert code == 2 and "error: the chat template writes no end-of-sequence token behind an answer" in said
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_found_before_it_is_full(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
    code, said = launch()
    assert code == 2 and "one checkpoint takes about" in said
    assert not (tmp_path / "runs").exists()


def test_a_run_trains_explains_itself_and_resumes(launch, tmp_path):
    code, _ = launch()
    assert code == 0
    run = tmp_path / "runs" / "tiny"
    assert yaml.safe_load((run / "config.yaml").read_text())["tasks"] == TINY["tasks"]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["trl"].startswith("1.16")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(row for row in metrics if row["phase"] == "rl")
    assert {"reward", "accuracy", "thinking_tokens", "truncated", "logprob_gap/max", "num_tokens"} <= logged.keys()
    rows = ds.dataset(run / "rollouts.parquet").to_table().to_pylist()
    assert sorted({row["step"] for row in rows if row["split"] == "train"}) == [1, 2]
    assert len([row for row in rows if row["split"] == "train"]) == 2 * 8
    assert len([row for row in rows if row["split"] == "validation"]) == 4
    for name in ("cold-start", "checkpoint-1", "checkpoint-2"):
        AutoModelForCausalLM.from_pretrained(run / "checkpoints" / name)
        assert AutoTokenizer.from_pretrained(run / "checkpoints" / name).chat_template

    code, said = launch()
    assert code == 2 and "--resume" in said and "--overwrite" in said
    code, said = launch("--resume", "--max_steps", "3")
    assert code == 0 and "checkpoint-2" in said
    assert (run / "checkpoints" / "checkpoint-3").is_dir()
    steps = [row["step"] for row in ds.dataset(run / "rollouts.parquet").to_table().to_pylist()]
    assert set(steps) == {1, 2, 3}
    code, _ = launch("--overwrite", "--max_steps", "1")
    assert code == 0 and not (run / "checkpoints" / "checkpoint-3").exists()


def test_a_resume_before_the_first_checkpoint_starts_rl_anew(launch, tmp_path):
    assert launch("--save_strategy", "no")[0] == 0
    code, said = launch("--resume", "--save_strategy", "no")
    assert code == 0 and "starts anew" in said
    run = tmp_path / "runs" / "tiny"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics if "reward" in row] == [1, 2]
    rows = ds.dataset(run / "rollouts.parquet").to_table().to_pylist()
    assert len([row for row in rows if row["split"] == "validation"]) == 4


def test_completions_longer_than_the_context_are_refused(launch):
    code, said = launch(max_completion_length=5_000)
    assert code == 2 and "ask for at most 10" in said


@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_long_row_of_many_is_found_before_any_work(launch, monkeypatch, split):
    draw = train.gate.draw_problems

    def one_is_long(parts, of, count, *more, **options):
        problems = draw(parts, of, count, *more, **options)
        if of == split:
            problems[-1] = replace(problems[-1], prompt=" ".join([problems[-1].prompt] * 500))
        return problems

    monkeypatch.setattr(train.gate, "draw_problems", one_is_long)
    code, said = launch(train_problems=300)
    assert code == 2 and "leave that one out. The longest, of" in said


def test_overwriting_never_deletes_the_model_to_start_from(launch, tmp_path, checkpoint):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: tiny")
    shutil.move(checkpoint, folder / "checkpoint-1")
    code, said = launch("--overwrite", model=str(folder / "checkpoint-1"), scratch=None)
    assert code == 2 and "would delete the model" in said
    assert (folder / "checkpoint-1" / "config.json").exists()


def test_overwriting_never_deletes_what_is_no_run(launch, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("x")
    code, said = launch("--overwrite")
    assert code == 2 and "is not a run" in said
    assert (folder / "thesis.tex").exists()


def test_lora_trains_through_cold_start_and_rl_and_saves_an_adapter(launch, tmp_path, checkpoint):
    code, _ = launch(lora_rank=4, model=str(checkpoint), scratch=None)
    assert code == 0
    saved = tmp_path / "runs" / "tiny" / "checkpoints" / "checkpoint-2"
    assert (saved / "adapter_config.json").is_file() and not (saved / "model.safetensors").exists()


def forked(config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(config)])
    assert in_processes(2, {}, main) == [0, 0]


def by_torchrun(config, monkeypatch):
    torchrun = Path(sys.executable).parent / "torchrun"
    command = [torchrun, "--nproc_per_node", "2", "--standalone", "-m", "train", "--config", config]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


# The launcher's processes import everything anew, and train what forked ones do.
@pytest.mark.parametrize("start", [forked, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_two_processes_give_a_working_run(tmp_path, monkeypatch, start):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY | {"runs_dir": str(tmp_path / "runs")}))
    start(config, monkeypatch)
    rows = ds.dataset(tmp_path / "runs" / "tiny" / "rollouts.parquet").to_table().to_pylist()
    first = [row for row in rows if row["split"] == "train" and row["step"] == 1]
    assert len(first) == 2 * 8  # each process samples its own groups
    assert len({row["problem"] for row in first}) == 4
    validation = [row["problem"] for row in rows if row["split"] == "validation"]
    assert len(validation) == len(set(validation)) == 4
