"""The notebook of the documentation runs on a run's rollouts and draws."""

import json
import random
import runpy
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

from data import Task, get_task, parse_response
from train.rewards.rollout_log import RolloutLog

NOTEBOOK = Path(__file__).parents[1] / "docs" / "rollouts.ipynb"


def rollout(task: Task, rng: random.Random) -> dict[str, object]:
    """The row of a demonstration."""
    assert task.draw is not None and task.demonstrate is not None
    settings = task.settings()
    (problem,) = task.draw(rng, settings, 1)
    completion = task.demonstrate(problem, rng, settings)
    verdict = task.verify(problem, parse_response(completion).answer)
    return {
        "task": problem.task,
        "problem": problem.to_json(),
        "prompt": problem.prompt,
        "completion": completion,
        "correct": verdict.correct,
        "format": verdict.format,
        "reason": verdict.reason,
        "error": None,
        "truncated": False,
        "thinking_tokens": len(completion.split()),
        "completion_ids": [1],
        "reward": float(verdict.correct),
    }


def test_the_notebook_runs_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    log = RolloutLog(tmp_path / "rollouts.parquet")
    for step in range(3):
        log.write(
            [rollout(get_task(name), rng) for name in ("countdown", "arithmetic") for _ in range(20)], step, "train"
        )
    matplotlib.use("Agg")
    plt.close("all")
    monkeypatch.setenv("RUN", str(tmp_path))
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]  # no outputs are committed
            (tmp_path / "cell.py").write_text("".join(cell["source"]))
            names = runpy.run_path(str(tmp_path / "cell.py"), names)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert len(figures) == 2
    assert all(axis.lines for figure in figures for axis in figure.axes)
    assert "Step(" in capsys.readouterr().out
    plt.close("all")
