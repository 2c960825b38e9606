"""The chat in the terminal, with a checkpoint in the process and with a server."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from serving import Recital, save_tiny, serving

from eval.serve.listen import Options
from eval.serve.marking import Marker
from eval.serve.served import load_served
from eval.serve.terminal import LocalTalker, RemoteTalker, TalkError, Terminal

SAID = "<think> try 2 + 6 = 9 , 9 - 8 = 1 vs 14 no try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
QUESTION = "numbers 2 6 6 target 14"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return load_served(save_tiny(tmp_path_factory.mktemp("tiny"), opened=False), Options())[1]


def conversation(talker, *lines, **options):
    written = []
    terminal = Terminal(talker, Marker(None), write=written.append, **options)
    going = [terminal.say(line) for line in lines]
    return "".join(written), terminal, going


def test_an_answer_is_written_as_it_comes_and_marked(served):
    talker = LocalTalker(served, Recital(served.tokenizer, SAID))
    written, terminal, _ = conversation(talker, QUESTION)
    assert written.startswith(" try 2 + 6 = 9") and "\n\n( 2 + 6 ) + 6\n" in written
    assert "right; 3 of 4 steps are right" in written and "wrong: 2 + 6 = 9 (is 8)" in written
    assert "40 tokens, 30 of them thinking" in written
    assert terminal.conversation[-1] == {"role": "assistant", "content": "( 2 + 6 ) + 6"}


def test_a_server_is_talked_to_just_so(served):
    talker = LocalTalker(served, Recital(served.tokenizer, SAID))
    with serving(served, Recital(served.tokenizer, SAID)) as server:
        assert conversation(RemoteTalker(server.url), QUESTION)[0] == conversation(talker, QUESTION)[0]


def test_what_is_set_is_sent_and_what_is_wrong_is_said(served):
    talker = LocalTalker(served, Recital(served.tokenizer, SAID))
    written, terminal, going = conversation(
        talker, "/budget 5", "/set temperature 0.5", "/thinking off", QUESTION, "/budget off", "/set seed x", QUESTION,
        "/new", "/nonsense", "", "/quit",
    )  # fmt: skip
    assert terminal.settings == {"temperature": 0.5, "seed": "x"} and not terminal.conversation
    assert not written.startswith(" try") and "error: seed is 'x'; expected a whole number." in written
    assert "/budget N" in written and going == [True] * 10 + [False]


def test_no_server_is_one_line():
    with pytest.raises(TalkError, match=r"http://127.0.0.1:1/v1/models did not answer as a server should"):
        RemoteTalker("http://127.0.0.1:1")


class Rubbish(BaseHTTPRequestHandler):
    """Lists a model, and answers every question with its class's `lines`."""

    lines = b""

    def do_GET(self):
        self.answer(b'{"data": [{"id": "tiny"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.lines)

    def answer(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    "chunk",
    [b"x", b"3", b"[]", b"{}", b"[" * 100_000, b'{"choices": 3}', b'{"choices": [3]}', b'{"choices": [{"delta": 3}]}',
     b'{"choices": [{"delta": {"content": [1]}}]}', b'{"choices": [], "usage": 3}', b'{"error": "no"}', b"\xff"],
    ids=lambda chunk: str(chunk[:40]),
)  # fmt: skip
def test_a_server_that_streams_rubbish_is_one_line(chunk):
    handler = type("Handler", (Rubbish,), {"lines": b"data: " + chunk + b"\n\n"})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=lambda: running.serve_forever(0.01), daemon=True).start()
    try:
        talker = RemoteTalker(f"http://127.0.0.1:{running.server_port}")
        with pytest.raises(TalkError, match="did not answer as a server should") as caught:
            list(talker.reply({"messages": []}))
    finally:
        running.shutdown()
        running.server_close()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
