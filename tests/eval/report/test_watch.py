"""A run that is watched: the page follows its evaluations, costs it next to nothing, and reloads in the browser."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from test_report import countdown, make_run, row, write

from eval.newcomer.chromium import browser, chromium
from eval.report.explorer import pack_newest
from eval.report.load import load_run
from eval.report.watch import Follower, make_watch_app
from eval.serve.listen import listen
from scripts import watch
from train.files.run_lock import lock
from train.rewards.rollout_log import COLUMNS

ROOT = Path(__file__).parents[3]


def evaluated(run: Path, step: int) -> None:
    """One more evaluation, younger than any page."""
    path = run / f"rollouts.parquet/validation-{step:06d}-rank0-000.parquet"
    write([row(countdown(), "<think> 1</think> 2", False, step=step, split="validation")], path, COLUMNS)
    page = run / "report.html"
    later = page.stat().st_mtime_ns + 10**6  # less than it takes to make a page
    os.utime(path, ns=(later, later))


@contextmanager
def watched(follower: Follower):
    """The address of a server of the follower's page."""
    door = listen("127.0.0.1", 0)
    hosts = ["localhost", "127.0.0.1"]
    server = uvicorn.Server(uvicorn.Config(make_watch_app(follower, hosts), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        door.close()


def test_the_newest_rollouts_are_the_ones_on_a_live_page(tmp_path):
    packed = pack_newest(load_run(make_run(tmp_path / "run")), 4)
    columns = json.loads(zlib.decompress(base64.b64decode(packed.data)))
    assert [columns["origins"][number] for number in columns["origin"]] == ["RL step 2"] + ["RL step 3"] * 3
    assert packed.count == 4 and packed.total == 12 and packed.choice == "the newest"


def test_the_page_is_made_anew_at_an_evaluation_and_only_as_often_as_one_percent_allows(tmp_path):
    run = make_run(tmp_path / "run")
    follower = Follower(run)
    with lock(run):
        assert follower.look(0.0) and "at RL step 3" in follower.words
        assert not (run / "report").exists()  # plots as files are for the end
        assert not follower.look(1e9)  # the page is current
        evaluated(run, 4)
        follower.cost, follower.start = 2.0, 1000.0
        assert not follower.look(1199.0)
        assert follower.look(1201.0)
    assert follower.look(1202.0) and (run / "report").is_dir()  # ended: the whole page, at once
    assert not follower.look(1e9) and follower.words == "ended at RL step 3"


def test_a_run_before_its_first_step_has_words_and_no_page(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    follower = Follower(run)
    with lock(run):
        assert not follower.look(0.0)
    assert follower.words == "waiting for its first step" and "has not trained a step yet" in follower.failure
    with watched(follower) as url:
        assert httpx.get(f"{url}/state").json()["version"] == "0"


def test_a_page_that_cannot_be_made_is_paid_for_too(tmp_path, monkeypatch):
    run, tries = make_run(tmp_path / "run"), []

    def fail(_):
        tries.append(1)
        raise ValueError("no rollouts yet")

    monkeypatch.setattr("eval.report.watch.write_live_report", fail)
    clock = iter([0.0, 3.0])  # of the processor
    monkeypatch.setattr("eval.report.watch.time.process_time", lambda: next(clock, 3.0))
    follower = Follower(run)
    with lock(run):
        assert not follower.look(0.0) and (follower.cost, follower.failure) == (3.0, "no rollouts yet")
        assert not follower.look(299.0) and len(tries) == 1
        assert not follower.look(301.0) and len(tries) == 2


def test_looks_that_take_longer_are_further_apart(tmp_path, monkeypatch):
    follower, pauses = Follower(tmp_path), []
    clock = iter([0.0, 0.001, 1.0, 1.05])  # one millisecond, then fifty
    monkeypatch.setattr("eval.report.watch.time.process_time", lambda: next(clock))
    monkeypatch.setattr(follower, "look", lambda _: False)

    class Ended(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return len(pauses) == 3

    follower.follow(Ended())
    assert pauses == pytest.approx([2, 2, 5])


def test_the_server_answers_to_its_own_name_alone(tmp_path):
    follower = Follower(make_run(tmp_path / "run"))
    follower.look(0.0)
    with watched(follower) as url:
        assert "RL step" in httpx.get(f"{url}/report.html").text
        assert httpx.get(f"{url}/state", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium")
def test_the_browser_shows_the_new_page_without_being_asked(tmp_path):
    run = make_run(tmp_path / "run")
    follower = Follower(run)
    with lock(run), watched(follower) as url, browser(tmp_path / "profile") as page:
        follower.look(0.0)
        page.open(url)
        shown = "document.getElementById('report').contentDocument?.querySelector('.diagnosis')"
        page.wait(f"{shown}")
        page.run(f"{shown}.replaceChildren('old')")
        evaluated(run, 4)
        follower.look(1e9)
        page.wait(f"{shown} && {shown}.textContent !== 'old'")
        assert page.run("document.getElementById('words').textContent") == "at RL step 3"
        assert not [line for line in page.log if "rror" in line]


@pytest.mark.parametrize(("options", "message"), [([], "has no config.yaml"), (["--port", "99999"], "expected 0 to")])
def test_refusals_are_one_line(tmp_path, monkeypatch, capsys, options, message):
    run = make_run(tmp_path / "run") if options else tmp_path
    monkeypatch.setattr(sys, "argv", ["watch.py", str(run), *options])
    assert watch.main() == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["watch.py", str(make_run(tmp_path / "run")), "--port", port])
        assert watch.main() == 2
    assert "cannot be listened at" in capsys.readouterr().err


def test_ctrl_c_is_how_it_ends(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt  # which uvicorn raises again once it has shut down

    monkeypatch.setattr(watch, "watch", interrupted)
    monkeypatch.setattr(sys, "argv", ["watch.py", str(make_run(tmp_path / "run"))])
    assert watch.main() == 0
    assert capsys.readouterr().err == ""


def test_the_live_page_imports_no_torch(tmp_path):
    run = make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; import eval.report.watch; "
        "from eval.report.page import write_live_report; "
        f"write_live_report(Path({str(run)!r})); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
