"""The newcomer's hour says what it lacks before its first step, which trains for minutes."""

import sys

from scripts import newcomers_hour


def test_a_package_that_a_later_step_needs_is_missed_before_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(newcomers_hour, "find_spec", lambda name: None if name == "openai" else object())
    monkeypatch.setattr(sys, "argv", ["newcomers_hour.py", "--folder", str(tmp_path / "hour")])
    assert newcomers_hour.main() == 2
    assert capsys.readouterr().err == "error: openai not installed, which a later step needs; run: make setup-dev\n"
    assert not (tmp_path / "hour").exists()
