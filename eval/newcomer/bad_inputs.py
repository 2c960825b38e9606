"""Mistakes that a newcomer is likely to make. Each gets one line that says how to mend it."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from eval.newcomer.first_steps import SMALL, train_with_reward
from eval.newcomer.hour import ROOT, Hour, refusal

RAISES = "def brevity(completion_ids, **_):\n    raise KeyError('length')\n"
NOWHERE = "http://127.0.0.1:9"  # where nothing answers


def no_checkpoint(hour: Hour) -> str:
    """A checkpoint that is not there."""
    return refusal(hour.call("scripts/serve.py", hour.folder / "nothing", "--port", "0"), "no such model")


def port_taken(hour: Hour) -> str:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        return refusal(hour.call("scripts/serve.py", hour.run / "model", "--port", port), "cannot be listened at")


def reward_that_raises(hour: Hour) -> str:
    """A reward function with a bug; it is tried before any work."""
    return refusal(train_with_reward(hour, "raises", RAISES, {}, steps=1), "failed: KeyError")


def column_missing(hour: Hour) -> str:
    """Traces without the columns that traces have."""
    file = hour.folder / "columns.jsonl"
    file.write_text('{"question": "numbers 1 2 target 3", "reply": "1 + 2"}\n')
    process = hour.train("columns", "--cold_start_data", file, config=ROOT / "configs" / "ci.yaml")
    return refusal(process, "columns.jsonl")


class Rubbish(BaseHTTPRequestHandler):
    """A teacher whose answers are not JSON."""

    def do_GET(self) -> None:
        """The same to every request."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Silence."""


def teacher_of_rubbish(hour: Hour) -> str:
    """A teacher whose address is a web page."""
    with HTTPServer(("127.0.0.1", 0), Rubbish) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        how = ["--config", hour.run / "config.yaml", "--problems", "2", "--output", hour.folder / "collected.jsonl"]
        try:
            return refusal(hour.call("scripts/collect.py", "--teacher", url, *how), url)
        finally:
            server.shutdown()


def hub_unreachable(hour: Hour) -> str:
    """A model of the hub, and an upload to it, without a network."""
    config = hour.folder / "small.yaml"
    config.write_text(SMALL)
    offline = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": NOWHERE}
    where = ["--config", config, "--runs_dir", hour.folder / "runs", "--name", "hub"]
    download = hour.call("-m", "train", *where, "--model", "nobody/no-model", **offline)
    upload = hour.call("scripts/publish.py", hour.run, "--push", "you/my-model", **offline)
    return refusal(download, "nobody/no-model") + "\n" + refusal(upload, "you/my-model could not be uploaded")
