"""A server of completions, small and local, as vLLM's answers."""

import json
import threading

import pytest
from stub_http import Stub, serving

from eval.evaluate import Settings, evaluate
from eval.sampling.candidate import load_candidate
from eval.sampling.json_api import ServerError
from eval.sampling.server import Server
from eval.sampling.source import read_source
from train.rollout.interface import Sampling, Thinking

SAMPLING = Sampling(5, (2,), temperature=0.7, seed=1)


class Completions(Stub):
    """Answers with the token ids 5, then the length of the prompt; hangs up from request number `last` on."""

    asked: list
    last = 10**9
    ids = True

    def do_GET(self):
        self.reply({"data": [{"id": "tiny", "root": "/models/tiny"}, {"id": "lora", "root": "/models/lora"}]})

    def do_POST(self):
        body = self.body()
        self.asked.append(body)
        if len(self.asked) > self.last:
            self.close_connection = True
            return
        choice = {"finish_reason": "stop", "text": "", "token_ids": [5, len(body["prompt"]), 2] if self.ids else None}
        self.reply({"choices": [choice]})


@pytest.fixture
def server():
    with serving(Completions, asked=[]) as handler:
        yield handler


def test_token_ids_go_in_and_come_out(server):
    got = {}
    Server(server.url).draw([[7, 8, 9], [7]], [0, 4], SAMPLING, got.__setitem__)
    assert {place: rollout.token_ids for place, rollout in got.items()} == {0: [5, 3, 2], 1: [5, 1, 2]}
    first = next(body for body in server.asked if body["prompt"] == [7, 8, 9])
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("tiny", 5, 0.7)
    assert first["repetition_penalty"] == 1.0  # a checkpoint's own would be another distribution
    assert first["stop_token_ids"] == [2] and first["return_token_ids"] is True
    assert len({body["seed"] for body in server.asked}) == 2


def test_one_of_several_models_is_picked_by_name(server):
    assert Server(f"{server.url}/v1#lora").root == "/models/lora"
    with pytest.raises(ServerError, match="does not serve other; it serves: tiny, lora"):
        Server(f"{server.url}#other")


def test_a_server_that_hangs_up_midway_loses_nothing(tmp_path, server, checkpoint, monkeypatch):
    server.last = 3
    monkeypatch.setattr("eval.sampling.json_api.TRIES", 1)
    candidate = load_candidate(server.url, tmp_path, tokenizer=str(checkpoint))
    with pytest.raises(ServerError, match=r"did not answer .* 3 of 8 samples had come and are kept"):
        candidate.backend.generate([[7], [8]], 4, SAMPLING)
    server.last = 10**9
    server.asked.clear()
    again = load_candidate(server.url, tmp_path, tokenizer=str(checkpoint))
    assert len(again.backend.generate([[7], [8]], 4, SAMPLING)) == 8
    assert len(server.asked) == 5


def test_a_server_is_evaluated_like_any_checkpoint(tmp_path, server, checkpoint):
    config = tmp_path / "config.yaml"
    config.write_text("tasks: {countdown: {}}\nmax_completion_length: 8\n")
    settings = Settings(problems=3, samples=2, max_new_tokens=8, temperatures=(1.0,))
    results = evaluate([server.url], read_source(config), settings, tmp_path / "out", tokenizer=str(checkpoint))
    assert results["checkpoints"][0]["measures"]["accuracy"]["count"] == 6
    assert len(server.asked) == 3 * (2 + 1)


def test_what_a_server_cannot_do_is_said(server):
    server.ids = False
    with pytest.raises(ServerError, match="gave no token ids"):
        Server(server.url).draw([[7]], [0], SAMPLING, print)
    budget = Sampling(5, (2,), thinking=Thinking(3, 4, budget=2, closing_ids=(4,)))
    with pytest.raises(ServerError, match="thinking budget"):
        Server(server.url).draw([[7]], [0], budget, print)


def test_no_server_is_one_clear_line():
    with pytest.raises(ServerError, match=r"http://127.0.0.1:1/v1/models did not answer \(ConnectError"):
        Server("http://127.0.0.1:1")


class Odd(Stub):
    """Answers as its class says; the first `busy` completions with 503."""

    models = json.dumps({"data": [{"id": "tiny"}]}).encode()
    content = b""
    busy = 0
    times = 0

    def do_GET(self):
        self.reply(self.models, Retry_After="7")

    def do_POST(self):
        kind = type(self)
        kind.times += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(kind.content, 503 if kind.times <= kind.busy else 200, Retry_After="7")


@pytest.fixture
def odd():
    with serving(Odd) as handler:
        yield handler


def completion(**choice):
    return json.dumps({"choices": [{"finish_reason": "stop", "token_ids": [5, 2]} | choice]}).encode()


@pytest.mark.parametrize(
    "models",
    [b"", b"nonsense", b"[]", b"3", b"null", b'{"data": 3}', b'{"data": null}', b'{"data": [3]}', b'{"data": [{}]}',
     b'{"data": [{"id": 3}]}', b'{"data": []}', b"[" * 100_000, b"\xff\xfe", b'{"data": [{"id": "a"}, 3]}'],
    ids=str,
)  # fmt: skip
def test_a_list_of_models_that_is_none_is_one_clear_line(odd, models):
    odd.models = models
    with pytest.raises(ServerError) as caught:
        Server(odd.url)
    assert "\n" not in str(caught.value) and odd.url in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b"null", b"{}", b'{"choices": 3}', b'{"choices": []}', b'{"choices": [3]}',
     b"[" * 100_000, completion(token_ids=3), completion(token_ids="ab"), completion(token_ids=[1.5]),
     completion(token_ids=[True]),
     completion(token_ids=[-1]), completion(token_ids=[[1]]), completion(token_ids={"a": 1}),
     completion(token_ids=None),
     completion(finish_reason=None), completion(finish_reason=[]), completion(token_ids=[5] * 9),
     completion(token_ids=[120]), completion(token_ids=[10**30]), b'{"choices": [{"token_ids": [NaN]}]}',
     completion(index=1), completion(prompt_token_ids=[8]), completion(token_ids=[5, 2, 6, 2]),
     completion(token_ids=[5] * 6, finish_reason="length"),
     completion()[:-1] + b', "error": {"message": "overloaded"}}',
     json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "token_ids": [5, 2]}] * 2}).encode()],
    ids=lambda body: str(body[:60]),
)  # fmt: skip
def test_a_completion_that_is_none_is_one_clear_line_and_nothing_is_stored(odd, body):
    odd.content = body
    stored = []
    with pytest.raises(ServerError) as caught:
        Server(odd.url, 120).draw([[7]], [0], SAMPLING, lambda *sample: stored.append(sample))
    assert not stored and "\n" not in str(caught.value) and odd.url in str(caught.value)


def test_a_reply_with_all_that_vllm_adds_is_read(odd):
    odd.content = completion(index=0, prompt_token_ids=[7], logprobs=None)[:-1] + b', "error": null, "usage": {}}'
    got = []
    Server(odd.url, 120).draw([[7]], [0], SAMPLING, lambda *sample: got.append(sample[1].token_ids))
    assert got == [[5, 2]]


def test_a_redirection_names_where_to(odd, monkeypatch):
    server = Server(odd.url)
    monkeypatch.setattr(odd, "do_POST", lambda handler: Stub.reply(handler, b"", 308, Location="/v2/completions"))
    with pytest.raises(ServerError, match="answered 308: it is at /v2/completions; give that address"):
        server.draw([[7]], [0], SAMPLING, print)


def test_a_server_that_is_busy_for_a_while_is_asked_again(odd):
    odd.content, odd.busy = completion(), 3
    pauses, got = [], []
    Server(odd.url, pause=pauses.append).draw([[7]], [0], SAMPLING, lambda *sample: got.append(sample))
    assert [rollout.token_ids for _, rollout in got] == [[5, 2]]
    assert pauses == [7.0, 7.0, 7.0]


def test_one_that_stays_busy_is_given_up(odd):
    odd.busy = 1000
    pauses = []
    with pytest.raises(ServerError, match=r"answered 503.*Tried 6 times.*0 of 1 samples had come"):
        Server(odd.url, pause=pauses.append).draw([[7]], [0], SAMPLING, print)
    assert len(pauses) == 5


def test_a_reply_without_end_is_refused(odd, monkeypatch):
    monkeypatch.setattr("eval.sampling.json_api.MOST_BYTES", 100_000)
    odd.content = b" " * 200_000
    with pytest.raises(ServerError, match="more than 100,000 bytes"):
        Server(odd.url).draw([[7]], [0], SAMPLING, print)


def test_a_reply_that_trickles_has_a_deadline(odd, monkeypatch):
    server = Server(odd.url)
    monkeypatch.setattr("eval.sampling.json_api.REPLY_SECONDS", -1.0)
    odd.content = completion()
    with pytest.raises(ServerError, match="was still answering after"):
        server.draw([[7]], [0], SAMPLING, print)


def test_headers_that_trickle_have_a_deadline(odd, monkeypatch):
    server = Server(odd.url)
    ended = threading.Event()

    def trickle(handler, content, code=200, **headers):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not ended.wait(0.05):
            handler.wfile.write(b"x")

    monkeypatch.setattr(odd, "reply", trickle)
    monkeypatch.setattr("eval.sampling.json_api.REPLY_SECONDS", 0.5)
    with pytest.raises(ServerError, match=r"completions was still answering after 0.5 seconds"):
        server.draw([[7]], [0], SAMPLING, print)
    ended.set()
