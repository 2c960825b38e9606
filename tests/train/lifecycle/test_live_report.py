"""The page beside a run: within 1% of its time, one at a time, and nobody waits for it."""

import os
import random
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from data.problem import Problem
from train.lifecycle import live_report
from train.lifecycle.live_report import LiveReport
from train.page.latest import END, START
from train.rewards.rollout_log import COLUMNS

FACTS = {"numbers": [8, 20, 6], "target": 154}
PROBLEM = Problem("countdown", "numbers 8 20 6 target 154", "countdown 8 20 6 target 154", FACTS).to_json()


def done(page: LiveReport) -> None:
    """Wait for the process without taking what it has used from it."""
    os.waitid(os.P_PID, page.process.pid, os.WEXITED | os.WNOWAIT)


def test_a_page_is_made_where_one_percent_of_the_time_pays_for_it(tmp_path):
    script = tmp_path / "report.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1], 'report.html').write_text(sys.argv[2])")
    page = LiveReport(tmp_path, script=script)
    assert not page.make(299.0)
    assert page.make(301.0)
    assert not page.make(1e6)  # while one is in the making, or not yet looked after
    done(page)
    assert page.make(1e6)
    assert (tmp_path / "report.html").read_text() == "--live"
    assert 0 < page.cost < 3 and page.spent == page.cost
    page.spent = 9.99
    done(page)
    assert not page.make(1000.0)


def evaluated(run, page, step, completion):
    """One more evaluation, whose rollouts hold `completion`; the page after it."""
    row = {"task": "countdown", "problem": PROBLEM, "prompt": "Make 7.", "completion": completion, "correct": False}
    row |= {"reason": "not 7", "truncated": False, "thinking_tokens": 3, "step": step, "split": "validation"}
    path = run / f"rollouts.parquet/validation-{step:06d}-rank0-000.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row], schema=COLUMNS), path)
    history = [{"step": at, "eval_accuracy": at / 100, "accuracy": 0.5, "reward": 0.5} for at in range(0, step + 1, 5)]
    state = SimpleNamespace(is_world_process_zero=True, global_step=step, log_history=history)
    page.on_evaluate(None, state, None)
    return state, (run / "report.html").read_text()


def test_after_every_evaluation_the_page_names_its_step_and_shows_its_rollouts(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "first", "max_steps": 20}))
    page = LiveReport(tmp_path, script=tmp_path / "nothing.py")
    for step in (0, 5, 10):
        _, text = evaluated(tmp_path, page, step, f"<think>what {step} <b>thought</b></think> 7")
        assert f"Now: step {step} of 20" in text and f"what {step} &lt;b&gt;thought" in text
        assert text.count("Now: step") == 1 and text.startswith("<!DOCTYPE html>") and "<h1>first</h1>" in text
    assert "10.0%" in text and "Accuracy" in text
    assert page.spent > 0  # within the 1% too


def test_after_a_checkpoint_between_evaluations_the_page_names_its_step_and_shows_the_newest_rollouts(tmp_path):
    (tmp_path / "config.yaml").write_text("name: first")
    page = LiveReport(tmp_path, script=tmp_path / "nothing.py")
    state, _ = evaluated(tmp_path, page, 10, "<think>at the evaluation</think> 7")
    state.log_history.append({"step": 12, "accuracy": 0.5, "reward": 0.5})
    page.on_save(None, state, None)
    text = (tmp_path / "report.html").read_text()
    assert "Now: step 12<" in text and "at the evaluation" in text  # nothing newer is there
    parts = tmp_path / "rollouts.parquet"
    rows = pq.read_table(parts / "validation-000010-rank0-000.parquet").to_pylist()
    newest = [{**row, "step": 12, "split": "train", "completion": "<think>in training</think> 7"} for row in rows]
    pq.write_table(pa.Table.from_pylist(newest, schema=COLUMNS), parts / "train-000012-rank0-000.parquet")
    page.on_save(None, state, None)
    text = (tmp_path / "report.html").read_text()
    assert "in training" in text and "at the evaluation" not in text and "The newest rollouts of training" in text


@pytest.mark.parametrize("broken", [START, f"{END}{START}", "\xff"])
def test_a_page_that_was_cut_off_or_edited_is_made_anew(tmp_path, broken):
    (tmp_path / "config.yaml").write_text("name: first")
    (tmp_path / "report.html").write_text(broken)
    _, text = evaluated(tmp_path, LiveReport(tmp_path, script=tmp_path / "nothing.py"), 5, "7")
    assert "<h1>first</h1>" in text and "Now: step 5<" in text


def test_a_figure_that_nobody_foresaw_costs_the_run_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("name: first")
    state = SimpleNamespace(is_world_process_zero=True, global_step=5, log_history=[{"loss": 0.1}])
    LiveReport(tmp_path, script=tmp_path / "nothing.py").on_evaluate(None, state, None)
    assert not (tmp_path / "report.html").exists()


def test_a_whole_page_that_comes_late_is_brought_up_to_the_last_evaluation(tmp_path):
    (tmp_path / "config.yaml").write_text("name: first")
    script = tmp_path / "report.py"
    whole = f"<p>claims</p>{START}<h2>Now: step 5</h2>{END}<p>plots</p>"
    script.write_text(f"import sys, pathlib; pathlib.Path(sys.argv[1], 'report.html').write_text({whole!r})")
    page = LiveReport(tmp_path, script=script)
    assert page.make(1e6)
    state, _ = evaluated(tmp_path, page, 10, "7")
    done(page)
    page.on_step_end(None, state, None)
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<p>claims</p>") and text.endswith("<p>plots</p>")
    assert "Now: step 10<" in text and "Now: step 5<" not in text


def test_a_page_that_cannot_be_written_costs_the_run_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("name: first")
    (tmp_path / "report.html").mkdir()
    page = LiveReport(tmp_path, script=tmp_path / "nothing.py")
    state = SimpleNamespace(is_world_process_zero=True, global_step=5, log_history=[{"step": 5, "eval_accuracy": 0.1}])
    page.on_evaluate(None, state, None)
    assert not list(tmp_path.glob(".*.partial"))


def test_over_a_run_the_pages_take_one_percent_and_the_first_is_there_after_five_minutes(tmp_path, monkeypatch):
    costs, made = random.Random(0), []

    class Made:
        pid = 0

        def __init__(self, *_, **__):
            made.append(costs.uniform(1.5, 3.0))

    monkeypatch.setattr("train.lifecycle.live_report.subprocess.Popen", Made)
    used = lambda *_: (1, 0, SimpleNamespace(ru_utime=made[-1], ru_stime=0.0))  # noqa: E731
    monkeypatch.setattr("train.lifecycle.live_report.os.wait4", used)
    page, first = LiveReport(tmp_path), 0.0
    for elapsed in range(10, 10_000, 10):
        if page.make(float(elapsed)) and not first:
            first = elapsed
        assert sum(made) <= 0.0105 * elapsed  # a page may take a little longer than the one before it
    assert first == 300 and sum(made) > 0.009 * elapsed


def test_without_the_script_and_with_one_that_fails_the_run_goes_on(tmp_path):
    assert not LiveReport(tmp_path, script=tmp_path / "nothing.py").make(1e6)
    failing = tmp_path / "fails.py"
    failing.write_text("raise SystemExit(2)")
    page = LiveReport(tmp_path, script=failing)
    assert page.make(1e6)
    done(page)
    assert page.make(1e6)
    done(page)


def test_the_command_is_the_projects_own_report(tmp_path):
    page = LiveReport(tmp_path)
    assert page.there and page.command == [sys.executable, str(live_report.SCRIPT), str(tmp_path), "--live"]


def test_tasks_of_ones_own_are_known_to_the_page_as_they_are_to_the_run(tmp_path):
    assert "--own-tasks" not in LiveReport(tmp_path, {"countdown": {}, "gym:chain_sum": {}}).command
    assert LiveReport(tmp_path, {"countdown": {}, "./primes.py": {}}).command[-1] == "--own-tasks"
    assert LiveReport(tmp_path, {"my_tasks.primes": {}}).command[-1] == "--own-tasks"
