import json
import shutil

import pytest
import yaml

from eval.curves.equal_compute import flops_of
from eval.report.load import load_run
from eval.retained import other_source
from eval.sampling.source import load_own_tasks, read_source, source_of
from train.config.parse import parse_config
from train.files.recorded_config import read_run_config
from train.lifecycle.diagnosis import diagnose
from train.lifecycle.run_folder import make_folder, other_versions, refuse_changes
from train.publishing.model_card import card

READERS = {
    "evaluate": lambda run: source_of([str(run / "checkpoints" / "checkpoint-1")]),
    "export, claims": lambda run: read_source(run / "config.yaml"),
    "own tasks": lambda run: load_own_tasks(run / "config.yaml"),
    "report": load_run,
    "retained": other_source,
    "doctor": diagnose,
    "publish": lambda run: card(run, run / "checkpoints" / "checkpoint-1", None),
    "compute": lambda run: flops_of(run, [run / "checkpoints" / "checkpoint-1"], 1),
    "training": lambda run: parse_config(["--config", str(run / "config.yaml")]),
}


@pytest.fixture
def options(tmp_path):
    """The command line of a small run, whose folder is made."""
    options = ["--name", "x", "--runs_dir", str(tmp_path), "--model", "scratch", "--use_cpu", "true"]
    options += ["--tasks", '{"arithmetic": {}}', "--split_seed", "7", "--system_prompt", "Think.", "--max_steps", "2"]
    make_folder(*parse_config(options))
    (tmp_path / "x" / "checkpoints" / "checkpoint-1").mkdir()
    return options


def resume(options, *more):
    """What `train --resume` does to the folder."""
    run, training = parse_config([*options, "--resume", *more])
    refuse_changes(run, training)
    make_folder(run, training)


@pytest.mark.parametrize(
    ("option", "value", "goes_on"),
    [("dataloader_num_workers", "2", True), ("dataloader_pin_memory", "true", True), ("temperature", "0.9", False)],
)
def test_only_what_changes_no_number_may_be_another_when_a_run_goes_on(options, option, value, goes_on):
    if goes_on:
        resume(options, f"--{option}", value)
        return
    with pytest.raises(ValueError, match=f"{option} was 1.0 and is {value}"):
        resume(options, f"--{option}", value)


def log_steps(run, last):
    (run / "metrics.jsonl").write_text("".join(f'{{"phase": "rl", "step": {step}}}\n' for step in range(1, last + 1)))


def test_a_run_whose_checkpoints_are_all_gone_does_not_start_anew_without_being_asked(tmp_path, options):
    log_steps(tmp_path / "x", 501)
    resume(options)
    (tmp_path / "x" / "checkpoints" / "checkpoint-1").rmdir()
    with pytest.raises(
        ValueError, match="holds no checkpoint, but the run has logged 501 steps and saved one every 500"
    ):
        resume(options)
    log_steps(tmp_path / "x", 500)  # it may have been killed before its first checkpoint
    resume(options)


@pytest.mark.parametrize("name", ["metrics.jsonl", "rollouts.parquet", "checkpoints"])
def test_a_folder_in_the_place_of_a_file_and_the_other_way_round_are_refused(tmp_path, options, name):
    path = tmp_path / "x" / name
    if name == "metrics.jsonl":
        path.mkdir()
    else:
        shutil.rmtree(path, ignore_errors=True)
        path.touch()
    with pytest.raises(ValueError, match=rf"{name} is no (file|folder), so it is not as `train` left it"):
        resume(options)


def test_other_versions_than_a_run_began_with_are_named(tmp_path, options):
    environment = tmp_path / "x" / "environment.json"
    assert other_versions(tmp_path / "x") is None
    record = json.loads(environment.read_text())
    now = record["packages"]["trl"]
    record["packages"]["trl"] = "0.1"
    environment.write_text(json.dumps(record))
    line = other_versions(tmp_path / "x")
    assert line is not None and f"(trl 0.1 -> {now})" in line


@pytest.mark.parametrize("reader", READERS)
def test_a_config_that_lost_an_option_is_refused_by_all_that_read_it(tmp_path, options, reader):
    config = tmp_path / "x" / "config.yaml"
    whole = config.read_text()
    config.write_text("".join(line for line in whole.splitlines(keepends=True) if not line.startswith("split_seed")))
    with pytest.raises(ValueError, match=r"config.yaml is not as training wrote it.*Restore the file, or") as refusal:
        READERS[reader](tmp_path / "x")
    assert "\n" not in str(refusal.value)


def test_a_whole_config_is_read_and_a_copy_elsewhere_may_be_edited(tmp_path, options):
    run = tmp_path / "x"
    assert read_source(run / "config.yaml").split_seed == 7
    edited = tmp_path / "config.yaml"
    edited.write_text((run / "config.yaml").read_text().replace("split_seed: 7", "split_seed: 8"))
    assert source_of([str(run / "checkpoints" / "checkpoint-1")], edited).split_seed == 8
    (run / "config.yaml").write_text("tasks: {arithmetic: {}}")
    assert source_of([str(run / "checkpoints" / "checkpoint-1")], edited).split_seed == 8


def test_a_run_that_goes_on_with_more_steps_may_have_either_config(tmp_path, options):
    config = tmp_path / "x" / "config.yaml"
    before = config.read_text()
    resume(options, "--max_steps", "4")
    resume(options, "--max_steps", "4")
    assert yaml.safe_load(config.read_text())["max_steps"] == read_run_config(config)["max_steps"] == 4
    assert len(json.loads((tmp_path / "x" / "environment.json").read_text())["config_sha256"]) == 2
    config.write_text(before)  # as a kill between the two writes leaves it
    assert read_run_config(config)["max_steps"] == 2


def test_a_damaged_config_is_not_gone_on_from(tmp_path, options):
    (tmp_path / "x" / "config.yaml").write_text("tasks: {arithmetic: {}}")
    with pytest.raises(ValueError, match=r"config\.yaml is not as training wrote it"):
        resume(options)


def test_a_run_of_an_older_version_is_read_and_goes_on(tmp_path, options):
    path = tmp_path / "x" / "environment.json"
    record = json.loads(path.read_text())
    del record["config_sha256"]
    path.write_text(json.dumps(record))
    assert read_source(tmp_path / "x" / "config.yaml").split_seed == 7
    resume(options)
    assert len(json.loads(path.read_text())["config_sha256"]) == 1


@pytest.mark.parametrize("record", ["[]", '{"config_sha256": 3}', "{"])
def test_a_damaged_record_is_refused_by_name(tmp_path, options, record):
    (tmp_path / "x" / "environment.json").write_text(record)
    with pytest.raises(ValueError, match=r"environment\.json is not"):
        read_run_config(tmp_path / "x" / "config.yaml")
