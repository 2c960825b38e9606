"""What `scripts/serve.py` refuses: one line that says how to mend it, exit 2."""

import socket
import sys

import pytest
from serving import save_tiny

from scripts import chat, serve


def run(monkeypatch, capsys, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    capsys.readouterr()  # of the fixtures, whose saving shows a bar
    code = main()
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("main", [serve.main, chat.main])
def test_no_such_checkpoint(monkeypatch, capsys, tmp_path, main):
    port = ["--port", "0"] if main is serve.main else []
    assert "no such model" in run(monkeypatch, capsys, main, tmp_path / "nothing", *port)
    assert "is not a checkpoint" in run(monkeypatch, capsys, main, tmp_path, *port)


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(monkeypatch, capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = run(monkeypatch, capsys, serve.main, tmp_path / "nothing", "--port", port)
    assert f"127.0.0.1:{port} cannot be listened at (Address already in use)" in line and "--port 0" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "99999"], "--port is 99999; expected 0 to 65535"),
        (["--max-rows", "0"], "--max-rows is 0"),
        (["--cache-gib", "-1"], "--cache-gib is -1.0; expected a number above 0"),
        (["--port", "0", "--max-context", "100000"], "--max-context is 100000; expected 2 to 256"),
        (["--port", "0", "--cache-gib", "0.00001"], "too few for one rollout"),
        (["--port", "0", "--host", "192.0.2.1"], "192.0.2.1:0 cannot be listened at"),
        (["--port", "0", "--host", "2001:db8::1"], "[2001:db8::1]:0 cannot be listened at"),
        (["--port", "0", "--host", "localhost:8000"], "cannot be listened at"),
        (["--port", "0", "--host", "http://localhost"], "cannot be listened at"),
        (["--port", "0", "--host", "a" * 70], "cannot be listened at"),
        (["--port", "0", "--host", ""], "--host is empty"),
        (["--port", "0", "--config", "nothing.yaml"], "nothing.yaml cannot be read"),
    ],
)
def test_options_that_cannot_be(monkeypatch, capsys, tmp_path, options, message):
    assert message in run(monkeypatch, capsys, serve.main, save_tiny(tmp_path), *options)
