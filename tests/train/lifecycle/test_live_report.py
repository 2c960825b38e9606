"""The page beside a run: within 1% of its time, one at a time, and nobody waits for it."""

import os
import random
import sys
from types import SimpleNamespace

from train.lifecycle import live_report
from train.lifecycle.live_report import LiveReport


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
