import json

import pytest

from train.config.run_config import RunConfig
from train.lifecycle.same_problems import problem_digests, refuse_other_problems


def run_of(path, tmp_path):
    return RunConfig(
        name="x", runs_dir=str(tmp_path), tasks={"math": {"source": str(path)}}, train_problems=4, validation_problems=0
    )


def write(path, answer):
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 30)]
    rows[3]["answer"] = answer
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_edited_data_file_is_refused_on_resume(tmp_path, monkeypatch):
    monkeypatch.setattr("data.mixture._DRAWN", {})
    monkeypatch.setattr("data.mixture._READ", {})
    path = tmp_path / "rows.jsonl"
    (tmp_path / "x").mkdir()
    write(path, "8")
    run = run_of(path, tmp_path)
    run.train_problems = 29
    began = problem_digests(run, 0)
    (tmp_path / "x" / "environment.json").write_text(json.dumps({"problems": began}))
    refuse_other_problems(run.folder, began)
    write(path, "9")
    monkeypatch.setattr("data.mixture._DRAWN", {})
    monkeypatch.setattr("data.mixture._READ", {})
    with pytest.raises(ValueError, match="The train problems are not those that the run began with"):
        refuse_other_problems(run.folder, problem_digests(run, 0))


def test_a_run_from_before_digests_were_kept_can_be_resumed(tmp_path):
    (tmp_path / "environment.json").write_text("{}")
    refuse_other_problems(tmp_path, {"train": "x"})
