"""The script that judges the claims, as a user calls it. What it computes is tested in tests/eval."""

import sys
from types import SimpleNamespace

import pytest

from scripts import claims


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


def test_the_table_names_the_command_that_made_it(tmp_path, monkeypatch):
    runs = [tmp_path / "my run", tmp_path / "longer"]
    for run in runs:
        run.mkdir()
        (run / "config.yaml").write_text("model: scratch\ntasks: {countdown: {}}\n")
    monkeypatch.setattr("eval.claims.plan.make_plan", lambda run, *_, **__: SimpleNamespace(run=run))
    monkeypatch.setattr("eval.claims.plan.expected", lambda plan: 0)
    for name in ("claims.evidence.gather", "curves.curve_plots.write_plots", "report.page.write_report"):
        monkeypatch.setattr(f"eval.{name}", lambda *_: None)
    monkeypatch.setattr("train.publishing.published.refresh", lambda run: "")
    typed = ["--run", str(runs[0]), "--output", str(tmp_path), "--against", f"more={runs[1]}", "--problems", "8"]
    monkeypatch.setattr(sys, "argv", ["scripts/claims.py", *typed])
    assert claims.main() == 0
    words = f"--run '{runs[0]}' --output {tmp_path} --against more={runs[1]} --problems 8"
    assert f"`python scripts/claims.py {words}` (seed 0)" in (tmp_path / "claims.md").read_text()
