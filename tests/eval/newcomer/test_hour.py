"""The newcomer's hour tells a step that failed from one that did as it should."""

import json
import subprocess

import pytest

from eval.newcomer.first_steps import write_traces
from eval.newcomer.hour import Hour, StepFailed, last_lines, refusal


def ended(code, err="", out=""):
    return subprocess.CompletedProcess([], code, out, err)


def test_a_refusal_is_one_line_with_the_right_code():
    assert refusal(ended(2, "error: no such model: x\n"), "no such model") == "   error: no such model: x"
    for wrong in (
        ended(1, "error: no such model: x\n"),
        ended(2, "Traceback (most recent call last):\nno such model\n"),
        ended(2, "error: something else\n"),
    ):
        with pytest.raises(StepFailed, match="expected exit code 2"):
            refusal(wrong, "no such model")


def test_a_failed_step_is_counted_and_the_next_one_is_done(tmp_path, capsys):
    hour = Hour(tmp_path, tmp_path / "c.yaml")
    hour.step("first", lambda _: last_lines(ended(2, "error: bad\n")))
    hour.step("second", lambda _: last_lines(ended(0, "", "good\n")))
    assert hour.failures == ["first"]
    assert "FAILED: exit code 2: error: bad" in (said := capsys.readouterr().out) and "   good" in said


def test_the_first_run_is_launched_as_the_quickstart_is_and_the_others_in_one_process(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **how: commands.append((command, how["env"])) or ended(0))
    hour = Hour(tmp_path, tmp_path / "c.yaml")
    hour.train("first", "--max_steps", 3, processes=2)
    hour.train("second", config=tmp_path / "d.yaml")
    (first, environment), (second, _) = commands
    assert first[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert first[-2:] == ["--max_steps", "3"] and str(tmp_path / "c.yaml") in first
    assert environment["ACCELERATE_USE_CPU"] == "1"
    assert second[1:3] == ["-m", "train"] and str(tmp_path / "d.yaml") in second


def test_fifty_traces_are_what_a_cold_start_takes(tmp_path):
    write_traces(tmp_path / "traces.jsonl", 50)
    rows = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert len(rows) == 50 and set(rows[0]) == {"prompt", "completion", "task_problem"}
    assert all("<think>" in row["completion"] for row in rows)
