"""The newcomer's script tells a step that failed from one that did as it should."""

import subprocess

import pytest

from scripts.newcomers_hour import Hour, StepFailed, done, refused


def ended(code, err="", out=""):
    return subprocess.CompletedProcess([], code, out, err)


def test_a_refusal_is_one_line_with_the_right_code():
    assert refused(ended(2, "error: no such model: x\n"), 2, "no such model") == "   error: no such model: x"
    for wrong in (
        ended(1, "error: no such model: x\n"),
        ended(2, "Traceback (most recent call last):\nno such model\n"),
        ended(2, "error: something else\n"),
    ):
        with pytest.raises(StepFailed, match="expected exit code 2"):
            refused(wrong, 2, "no such model")


def test_a_failed_step_is_counted_and_the_next_one_is_done(tmp_path, capsys):
    hour = Hour(tmp_path, tmp_path / "c.yaml", [])
    hour.step("first", lambda: done(ended(2, "error: bad\n")))
    hour.step("second", lambda: done(ended(0, "", "good\n")))
    assert hour.failed == ["first"]
    assert "FAILED: exit code 2: error: bad" in (said := capsys.readouterr().out) and "   good" in said
