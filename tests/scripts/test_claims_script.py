"""The script that judges the claims, as a user calls it. What it computes is tested in tests/eval."""

import pytest


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "config.yaml cannot be read"),
        (["config.yaml"], "is not a run folder with a checkpoint"),
    ],
)
def test_a_folder_that_is_no_run_is_one_clear_line(tmp_path, script, made, said):
    for name in made:
        (tmp_path / name).write_text("model: scratch\ntasks: {countdown: {}}\n")
    done = script("claims", "--run", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "evaluation").exists()
