"""The server as programs meet it: OpenAI's own client, curl, many at once, and those that hang up."""

import json
import socket
import subprocess
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import psutil
import pytest
from patience import PATIENCE
from serving import Recital, running, save_tiny, serving

from eval.serve.listen import Options
from eval.serve.served import load_served

ASKED = [{"role": "user", "content": "numbers 2 6 8 target 14"}]
SAID = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(tiny):
    with running(tiny) as server:
        yield server


@pytest.fixture(scope="module")
def reciting(tmp_path_factory):
    _, served = load_served(save_tiny(tmp_path_factory.mktemp("closed"), opened=False), Options())
    with serving(served, Recital(served.tokenizer, SAID)) as server:
        yield server


@pytest.fixture
def impatient(reciting):
    with serving(reciting.served, reciting.batcher, body_seconds=0.5) as server:
        yield server


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def reciter(reciting):
    return openai.OpenAI(base_url=f"{reciting.url}/v1", api_key="none", max_retries=0)


def ask(client, **options):
    name = client.models.list().data[0].id
    return client.chat.completions.create(model=name, messages=ASKED, **options)


def test_thinking_and_answer_come_apart_and_are_counted_apart(reciter):
    answer = ask(reciter, logprobs=True, n=2)
    for choice in answer.choices:
        assert choice.message.content == "( 2 + 6 ) + 6"
        assert choice.message.reasoning_content == " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes"
        assert choice.finish_reason == "stop"
        assert "".join(token.token for token in choice.logprobs.content).strip() == "( 2 + 6 ) + 6"
        assert choice.message.reasoning == choice.message.reasoning_content
        thought = choice.logprobs.model_dump()["reasoning_content"]
        assert "".join(token["token"] for token in thought) == choice.message.reasoning_content
        assert {token["logprob"] for token in thought} == {-0.5}
    usage = answer.usage
    assert usage.completion_tokens_details.reasoning_tokens == 2 * 15
    assert usage.completion_tokens == 2 * 25 and usage.total_tokens == usage.prompt_tokens + 50


def test_a_stream_says_what_the_whole_says(reciter):
    whole = ask(reciter).choices[0].message
    chunks = list(ask(reciter, stream=True, stream_options={"include_usage": True}, logprobs=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    thoughts = [delta.model_dump().get("reasoning_content") or "" for delta in deltas]
    assert thoughts == [delta.model_dump().get("reasoning") or "" for delta in deltas]
    assert "".join(thoughts) == whole.reasoning_content and sum(map(bool, thoughts)) > 5
    assert "".join(delta.content or "" for delta in deltas) == whole.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 15
    tokens = [token for c in chunks if c.choices and c.choices[0].logprobs for token in c.choices[0].logprobs.content]
    assert "".join(token.token for token in tokens).strip() == whole.content


def test_a_stop_string_ends_the_answer_not_the_thinking(reciter):
    choice = ask(reciter, stop=["+"]).choices[0]
    assert choice.message.content == "( 2" and "+" in choice.message.reasoning_content
    assert choice.finish_reason == "stop"


def test_thinking_is_hidden_where_it_is_asked_for_so_and_counted_all_the_same(reciter):
    answer = ask(reciter, extra_body={"include_reasoning": False})
    assert not {"reasoning_content", "reasoning"} & answer.choices[0].message.model_dump().keys()
    assert answer.usage.completion_tokens_details.reasoning_tokens == 15


def test_a_seed_repeats_an_answer_whatever_else_runs(client):
    def said(seed):
        return ask(client, seed=seed, max_completion_tokens=40, n=2).model_dump()["choices"]

    alone = said(7)
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(said, [7, *range(20, 30), 7]))
    assert together[0] == together[-1] == alone
    assert len({str(choices) for choices in together}) == 11


def test_a_thinking_budget_is_exact(client):
    for budget in (0, 5, 12):
        how = {"max_completion_tokens": 30, "extra_body": {"thinking_budget": budget}}
        usages = [ask(client, seed=seed, **how).usage for seed in range(4)]
        thought = [usage.completion_tokens_details.reasoning_tokens for usage in usages]
        assert max(thought) == budget
    effort = ask(client, seed=1, max_completion_tokens=50, reasoning_effort="low").usage
    assert effort.completion_tokens_details.reasoning_tokens <= 10


def test_an_overlong_prompt_is_said_in_the_clients_own_words(client):
    with pytest.raises(openai.BadRequestError, match=r"prompt and completion may have 256 together") as caught:
        ask(client, max_completion_tokens=65536)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "max_completion_tokens"
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.chat.completions.create(model="gpt-4o", messages=ASKED)


def test_curl(server):
    def curl(*arguments):
        return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout

    json_body = ["-H", "Content-Type: application/json", "-d"]
    url = f"{server.url}/v1/chat/completions"
    body = json.dumps({"messages": ASKED, "max_tokens": 5, "stream": True})
    stream = curl("-N", url, *json_body, body)
    assert stream.startswith("data: {") and stream.endswith("data: [DONE]\n\n")
    assert json.loads(curl(f"{server.url}/health"))["status"] == "ok"
    assert json.loads(curl(f"{server.url}/v1/models"))["data"][0]["max_model_len"] == 256
    assert "send application/json" in curl(url, "-d", body)
    assert "no JSON" in curl(url, *json_body, "{")
    assert "Not Found" in json.loads(curl(f"{server.url}/v2"))["error"]["message"]


def test_a_client_that_hangs_up_midway_frees_its_place(tmp_path):
    with running(save_tiny(tmp_path, context=70_000)) as server:
        for stream in (True, False):
            for samples in (1, 4):
                body = {"messages": ASKED, "max_completion_tokens": 65_536, "n": samples, "stream": stream}
                _hang_up(server, json.dumps(body | {"thinking_budget": 65_000}).encode(), read=stream)
        assert _left(server) == 0


def _hang_up(server, body, *, read):
    """Send a request and close the connection: behind the first bytes of the answer, or before there are any."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if read:
            assert connection.recv(200).startswith(b"HTTP/1.1 200")


def _left(server) -> int:
    """Requests that are under way after a few more have come to their end."""
    for _ in range(40):
        body = {"messages": ASKED, "max_tokens": 1}
        httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False).raise_for_status()
        left = httpx.get(f"{server.url}/health", trust_env=False).json()["requests"]
        if not left:
            break
    return left


@pytest.mark.parametrize(
    "beginning",
    ["", "GET /health HTTP/1.1\r\nX-Slow: ", "POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"],
    ids=["nothing", "headers", "the body of a request that is answered"],
)
def test_a_connection_that_sends_a_byte_at_a_time_is_closed(impatient, monkeypatch, beginning):
    monkeypatch.setattr("eval.serve.patient_http.HEADER_SECONDS", 0.5)
    host, port = impatient.url.removeprefix("http://").split(":")
    pause = threading.Event()
    with socket.create_connection((host, int(port)), timeout=0.05) as slow, pytest.raises(ConnectionError):
        slow.sendall(beginning.encode())
        while True:
            slow.sendall(b"x" if beginning else b"")
            try:
                if not slow.recv(4096):
                    raise ConnectionResetError
            except TimeoutError:
                pause.wait(0.01)
    body = {"messages": ASKED, "max_tokens": 1}
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:  # the others go on, on one connection
        assert [client.get(f"{impatient.url}/health").status_code for _ in range(3)] == [200] * 3
        assert client.post(f"{impatient.url}/v1/chat/completions", json=body).status_code == 200


def test_a_body_without_end_and_one_that_never_comes_are_refused(impatient):
    host, port = impatient.url.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as slow:
        slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert b"408" in slow.recv(4096).split(b"\r\n")[0]
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as large:
        large.sendall(f"{head}Content-Length: {10**10}\r\n\r\n".encode())
        reply = b""
        try:
            for _ in range(80):
                large.sendall(b" " * 2**17)
        except OSError:
            pass
        try:
            reply = large.recv(4096)
        except OSError:  # closed while it still sent
            reply = b"413"
        assert b"413" in reply


def test_a_full_server_says_so(tiny):
    with running(tiny, rows=1, waiting=1) as server, ThreadPoolExecutor(8) as pool:
        body = {"messages": ASKED, "max_tokens": 200, "n": 1}
        url = f"{server.url}/v1/chat/completions"
        replies = pool.map(lambda _: httpx.post(url, json=body, timeout=PATIENCE, trust_env=False), range(8))
        codes = [reply.status_code for reply in replies]
    assert set(codes) == {200, 429}


def test_an_engine_that_fails_fails_its_requests_and_health_tells(tiny):
    with running(tiny) as server:
        model = server.batcher.engine.model
        model.model.norm.weight.data.fill_(float("nan"))
        body = {"messages": ASKED, "max_tokens": 5}
        codes = []
        for _ in range(5):
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False)
            codes.append(reply.status_code)
            assert "weights" in reply.json()["error"]["message"] or "given up" in reply.json()["error"]["message"]
        assert set(codes) <= {500, 503}


@pytest.mark.slow
def test_a_thousand_requests_leave_nothing_behind(server):
    url = f"{server.url}/v1/chat/completions"
    process = psutil.Process()

    def one(number):
        body = {"messages": [{"role": "user", "content": f"numbers 2 6 {number % 90 + 1} target 14"}], "seed": number,
                "max_tokens": 1 + number % 12, "n": 1 + number % 3, "stream": bool(number % 2)}  # fmt: skip
        if number % 10 == 9:
            try:
                httpx.post(url, json=body | {"max_tokens": 200}, timeout=0.01, trust_env=False)
            except httpx.TimeoutException:
                return
        else:
            request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as reply:
                assert reply.status == 200 and reply.read()

    def load(start, stop):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(start, stop)))
        assert _left(server) == 0
        return process.memory_info().rss, process.num_fds(), threading.active_count()

    before, after = load(0, 200), load(200, 1200)
    assert after[0] - before[0] < 30 * 2**20
    assert after[1] <= before[1] + 4 and after[2] <= before[2] + 2
    assert not server.batcher._open
