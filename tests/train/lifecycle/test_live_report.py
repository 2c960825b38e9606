"""The page beside a run: within 1% of its time, one at a time, and nobody waits for it."""

import os
import sys

from train.lifecycle import live_report
from train.lifecycle.live_report import LiveReport


def done(page: LiveReport) -> None:
    """Wait for the process without taking what it has used from it."""
    os.waitid(os.P_PID, page.process.pid, os.WEXITED | os.WNOWAIT)


def test_a_page_is_made_where_one_percent_of_the_time_pays_for_it_and_for_the_last_one(tmp_path):
    script = tmp_path / "report.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1], 'report.html').write_text(sys.argv[2])")
    page = LiveReport(tmp_path, script=script)
    assert not page.make(599.0)
    assert page.make(601.0)
    assert not page.make(1e6)  # while one is in the making, or not yet looked after
    done(page)
    assert page.make(1e6)
    assert (tmp_path / "report.html").read_text() == "--live"
    assert 0 < page.cost < 3 and page.spent == page.cost
    page.spent = 9.99
    done(page)
    assert not page.make(1000.0)


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
