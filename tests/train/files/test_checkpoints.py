import json

import pytest

from train.files.checkpoints import SEAL, UNFINISHED, discard_after, fault, newest_whole, publish, seal


@pytest.fixture
def write(tmp_path):
    """Publish `checkpoint-N` with two files in it."""

    def checkpoint(step):
        unfinished = tmp_path / UNFINISHED / f"checkpoint-{step}"
        (unfinished / "ref").mkdir(parents=True)
        (unfinished / "model.safetensors").write_bytes(b"weights" * 100)
        (unfinished / "ref" / "adapter.safetensors").write_bytes(b"adapter")
        publish(unfinished, tmp_path / f"checkpoint-{step}")
        return tmp_path / f"checkpoint-{step}"

    return checkpoint


def test_the_newest_whole_checkpoint_is_taken_and_the_rest_named_with_the_reason(write, tmp_path):
    for step in (9, 10, 20, 100, 110, 120, 130):
        write(step)
    (tmp_path / "checkpoint-130" / SEAL).unlink()
    (tmp_path / "checkpoint-120" / "ref" / "adapter.safetensors").unlink()
    (tmp_path / "checkpoint-110" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "checkpoint-100" / "model.safetensors").write_bytes(b"weights" * 99 + b"weighed")
    (tmp_path / "checkpoint-20" / SEAL).write_text('{"files": ')
    (tmp_path / "checkpoint-best").mkdir()
    path, passed_over = newest_whole(tmp_path)
    assert path == tmp_path / "checkpoint-10"
    reasons = ("never finished", "is missing", "7 bytes, not 700", "checksum", "cannot be read")
    for step, reason, line in zip((130, 120, 110, 100, 20), reasons, passed_over, strict=True):
        assert f"checkpoint-{step}:" in line and reason in line


def test_a_checkpoint_under_the_name_of_another_step_is_passed_over(tmp_path):
    path = tmp_path / "checkpoint-2"
    path.mkdir()
    (path / "trainer_state.json").write_text('{"global_step": 2}')
    seal(path)
    assert newest_whole(tmp_path) == (path, [])
    renamed = path.rename(tmp_path / "checkpoint-9")
    reason = "its trainer_state.json is of step 2, so it was renamed"
    assert newest_whole(tmp_path) == (None, [f"Passed over {renamed}: {reason}."])
    assert fault(renamed.rename(tmp_path / "best")) is None


def test_later_ones_are_moved_aside_so_that_the_run_can_write_them_anew(write, tmp_path):
    for step in (10, 20):
        write(step)
    (tmp_path / UNFINISHED / "checkpoint-30").mkdir(parents=True)
    discard_after(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "damaged-20"]
    assert fault(write(20)) is None


@pytest.mark.parametrize("call", ["os.fsync", "json.dumps", "pathlib.Path.rename"])
def test_what_is_cut_off_while_it_is_written_is_not_there(write, tmp_path, monkeypatch, call):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    write(10)
    with monkeypatch.context() as patched:
        patched.setattr(call, kill)
        with pytest.raises(Killed):
            write(20)
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-10", [])


def test_the_seal_lists_every_file(write):
    seal = json.loads((write(1) / SEAL).read_text())
    assert seal["files"].keys() == {"model.safetensors", "ref/adapter.safetensors"}
    assert seal["files"]["model.safetensors"]["bytes"] == 700
