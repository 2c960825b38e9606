"""A failed start costs nothing: the old run comes back, and no folder is left that blocks the mended command."""

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from train.config.run_config import RunConfig
from train.files.run_lock import lock, refuse_held
from train.lifecycle.overwriting import ForgetOverwritten, aside, put_back_unless_begun, set_aside


@pytest.fixture
def run(tmp_path):
    """A run that overwrites another, which stands aside; its own folder is as it is made."""
    run = RunConfig(name="x", runs_dir=str(tmp_path), tasks={"countdown": {}}, overwrite=True)
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "config.yaml").write_text("new")
    aside(run).mkdir()
    (aside(run) / "config.yaml").write_text("old")
    return run


def test_a_run_that_ends_before_its_first_step_gives_the_old_one_back(run):
    put_back_unless_begun(run)
    assert (run.folder / "config.yaml").read_text() == "old" and not aside(run).exists()


def test_a_first_run_that_fails_leaves_no_folder(run):
    (aside(run) / "config.yaml").unlink()
    aside(run).rmdir()
    put_back_unless_begun(run)
    assert not run.folder.exists()


@pytest.mark.parametrize("work", ["metrics.jsonl", "checkpoints/checkpoint-1", "rollouts.parquet/train-1"])
def test_a_run_that_did_something_stays(run, work):
    (run.folder / work).parent.mkdir(exist_ok=True)
    (run.folder / work).write_text("{}\n")
    put_back_unless_begun(run)
    assert (run.folder / "config.yaml").read_text() == "new" and not aside(run).exists()


def test_what_a_killed_start_left_does_not_cost_the_run_that_it_was_to_overwrite(run):
    set_aside(run)  # by the next start with --overwrite
    assert (aside(run) / "config.yaml").read_text() == "old" and not run.folder.exists()


def test_a_run_that_has_begun_is_set_aside_in_the_place_of_an_older_one(run):
    (run.folder / "metrics.jsonl").write_text("{}\n")
    set_aside(run)
    assert (aside(run) / "config.yaml").read_text() == "new" and not run.folder.exists()


def test_a_resumed_start_that_fails_leaves_both_as_they_are(run):
    run.resume, run.overwrite = True, False
    put_back_unless_begun(run)
    assert (run.folder / "config.yaml").read_text() == "new" and (aside(run) / "config.yaml").read_text() == "old"


def test_the_old_run_is_deleted_after_the_first_step(run, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    ForgetOverwritten(run).on_step_end(arguments, TrainerState(), TrainerControl())
    assert not aside(run).exists() and run.folder.exists()


def test_a_run_that_is_going_on_is_refused_by_whatever_name_its_folder_has(run, tmp_path):
    (tmp_path / "link").symlink_to(run.folder)
    with lock(run.folder), pytest.raises(ValueError, match="is going on in another process"):
        refuse_held(tmp_path / "link")
    refuse_held(run.folder)
    refuse_held(tmp_path / "never")
    assert not (tmp_path / ".never.lock").exists()
