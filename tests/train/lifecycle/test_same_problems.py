import json

import pytest

from train.config.run_config import RunConfig
from train.lifecycle.same_start import PROBLEMS, problem_digests, refuse_others


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Write a set whose answers are twice the number, plus `more`; gives the digests of a run that draws it afresh."""
    path = tmp_path / "rows.jsonl"

    def draw(more):
        monkeypatch.setattr("data.mixture._DRAWN", {})
        monkeypatch.setattr("data.mixture._READ", {})
        rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n + more)} for n in range(1, 30)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tasks = {"math": {"source": str(path)}}
        run = RunConfig(name="x", model="smollm2-135m", tasks=tasks, train_problems=20, validation_problems=0)
        return problem_digests(run, 0)

    return draw


def test_an_edited_data_file_is_refused_on_resume(tmp_path, digests):
    (tmp_path / "environment.json").write_text(json.dumps({"problems": digests(0)}))
    refuse_others(tmp_path, PROBLEMS, digests(0))
    with pytest.raises(ValueError, match="The train problems are not those that the run began with"):
        refuse_others(tmp_path, PROBLEMS, digests(1))


def test_a_run_from_before_digests_were_kept_can_be_resumed(tmp_path):
    (tmp_path / "environment.json").write_text("{}")
    refuse_others(tmp_path, PROBLEMS, {"train": "x"})


@pytest.mark.parametrize("kept", ["x", [1], 3])
def test_digests_that_are_none_are_one_line(tmp_path, kept):
    (tmp_path / "environment.json").write_text(json.dumps({"problems": kept}))
    with pytest.raises(ValueError, match="not as `train` left it: problems is"):
        refuse_others(tmp_path, PROBLEMS, {"train": "x"})
