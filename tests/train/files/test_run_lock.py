"""One lock a folder, under whatever name it is reached."""

import errno
import fcntl
import os
import threading

import pytest

from train.files import run_lock
from train.files.run_lock import is_held, lock, refuse_held


@pytest.mark.parametrize("linked", ["folder", "parent", "chain"])
def test_a_folder_under_two_names_has_one_lock(tmp_path, linked):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (tmp_path / "runs" / "b").symlink_to(folder)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "runs")
    (tmp_path / "c").symlink_to(tmp_path / "elsewhere" / "b")
    other = {"folder": tmp_path / "runs" / "b", "parent": tmp_path / "elsewhere" / "a", "chain": tmp_path / "c"}[linked]
    with lock(folder), pytest.raises(ValueError, match="going on in another process"):
        lock(other)
    lock(other).release()


def test_a_folder_that_is_yet_to_be_made_is_locked_by_its_name(tmp_path):
    with lock(tmp_path / "runs" / "new"), pytest.raises(ValueError, match="going on in another process"):
        lock(tmp_path / "runs" / "new")


def test_a_folder_that_is_reached_another_way_has_one_lock(tmp_path):
    folder, elsewhere = tmp_path / "runs" / "a", tmp_path / "mount"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    with lock(folder):
        folder.rename(elsewhere / "b")  # the same folder under a name that has another lock, as another mount gives it
        assert is_held(elsewhere / "b")
        with pytest.raises(ValueError, match="going on in another process"):
            lock(elsewhere / "b")
    assert not is_held(elsewhere / "b")
    lock(elsewhere / "b").release()


def test_a_folder_that_is_made_later_is_held_then(tmp_path):
    with lock(tmp_path / "a") as held:
        (tmp_path / "a").mkdir()
        held.hold(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / "b")
        assert is_held(tmp_path / "b")


def test_a_disk_that_locks_no_folders_still_has_the_lock_by_name(tmp_path, monkeypatch):
    flock = fcntl.flock

    def flock_files_alone(file, operation):
        if os.path.isdir(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}"):
            raise OSError(errno.EBADF, "as NFS has it")
        flock(file, operation)

    (tmp_path / "a").mkdir()
    monkeypatch.setattr(fcntl, "flock", flock_files_alone)
    with lock(tmp_path / "a"):
        assert is_held(tmp_path / "a")
    assert not is_held(tmp_path / "a")


def test_a_look_says_who_holds_a_folder_and_leaves_nothing_behind(tmp_path):
    assert not is_held(tmp_path / "run") and not list(tmp_path.iterdir())
    with lock(tmp_path / "run"):
        assert is_held(tmp_path / "run")
        with pytest.raises(ValueError, match="going on in another process"):
            refuse_held(tmp_path / "run")
    assert not is_held(tmp_path / "run")
    refuse_held(tmp_path / "run")


def test_readers_look_at_the_same_time_and_need_no_right_to_write(tmp_path):
    lock(tmp_path / "run").release()
    file = tmp_path / ".run.lock"
    file.chmod(0o444)
    before = file.stat()
    with file.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_held(tmp_path / "run")
    assert file.stat().st_mtime_ns == before.st_mtime_ns and file.stat().st_size == before.st_size


def test_a_run_that_starts_while_someone_looks_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "LOOK", 60.0)  # on a machine that is busy
    lock(tmp_path / "run").release()
    with (tmp_path / ".run.lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (reader, fcntl.LOCK_UN)).start()
        lock(tmp_path / "run").release()
