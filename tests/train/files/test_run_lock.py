"""One lock a folder, under whatever name it is reached."""

import pytest

from train.files.run_lock import lock


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
