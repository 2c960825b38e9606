"""Collecting reasoning from a teacher: a stand-in for a chat server, small and local."""

import json

import pytest
import yaml
from stub_http import Stub, serving

from data.fixed_sets.reasoning_traces import TraceSettings, read_traces
from data.mixture import draw_problems, load_mixture
from eval.collect import collect
from eval.sampling.json_api import ServerError
from eval.sampling.teacher import ChatTeacher
from train.rollout.interface import Sampling

SAMPLING = Sampling(64, (), temperature=0.7)


class Chat(Stub):
    """Calculates what it is asked; what it makes of the value is up to `say`. Fails from request number `last` on."""

    asked: list
    last = 10**9
    code = 400
    raw: bytes | None = None  # the answer to every question, whatever it is

    def do_GET(self):
        self.reply({"data": [{"id": "tiny"}]})

    def do_POST(self):
        body = self.body()
        self.asked.append(body)
        if len(self.asked) > self.last:
            self.reply(self.raw or {"error": "no more"}, self.code)
            return
        left, _, right = body["messages"][-1]["content"].removeprefix("compute ").partition(" * ")
        self.reply(self.raw or self.say(int(left) * int(right), len(self.asked)))

    def say(self, value, number):
        wrong = number % 2 == 0
        message = {"content": str(value + wrong), "reasoning_content": f"so {value}"}
        return {"choices": [{"finish_reason": "stop", "message": message}]}


@pytest.fixture
def chat():
    with serving(Chat, asked=[]) as handler:
        yield handler


@pytest.fixture
def problems():
    return draw_problems(load_mixture({"arithmetic": {"products": 1.0}}), "train", 3, 0)


def teacher(chat):
    return ChatTeacher(chat.url, SAMPLING, "task", requests=1, pause=lambda _: None)


def test_verified_answers_are_kept_as_traces_that_can_be_checked_again(chat, problems, tmp_path):
    done = collect(teacher(chat), problems, 2, tmp_path / "t.jsonl")
    assert (done.traces, done.answers, dict(done.refusals)) == (3, 6, {"wrong": 3})
    traces = list(read_traces(TraceSettings(source=str(tmp_path / "t.jsonl"))))
    assert sorted(trace.problem.canonical for trace in traces) == sorted(problem.canonical for problem in problems)
    assert traces[0].completion == f"<think>\nso {traces[0].problem.facts['target']}\n</think>\n\n" + str(
        traces[0].problem.facts["target"]
    )
    first = chat.asked[0]
    assert first["max_tokens"] == 64 and first["temperature"] == 0.7 and first["messages"][0]["role"] == "system"
    assert len({body["seed"] for body in chat.asked}) == 6


def test_what_was_asked_is_not_asked_again_and_a_line_cut_off_is(chat, problems, tmp_path):
    chat.last = 3
    with pytest.raises(ServerError, match="answered 400"):
        collect(teacher(chat), problems, 2, tmp_path / "t.jsonl")
    kept = (tmp_path / "t.jsonl").read_text()
    assert kept.count("\n") == 2
    ledger = tmp_path / "t.jsonl.asked"
    ledger.write_text(ledger.read_text()[:-5])  # killed while it wrote the third
    (tmp_path / "t.jsonl").write_text(kept + '{"messages": [')
    chat.last, before = 10**9, len(chat.asked)
    done = collect(teacher(chat), problems, 2, tmp_path / "t.jsonl")
    assert done.answers == 6 and len(chat.asked) - before == 3
    assert len([json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]) == done.traces
    before = len(chat.asked)
    again = collect(teacher(chat), problems, 2, tmp_path / "t.jsonl")
    assert len(chat.asked) == before and again.traces == done.traces


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"choices": [{"finish_reason": "length", "message": {"content": "4"}}]}, "cut off"),
        ({"choices": [{"finish_reason": "stop", "message": {"content": "4"}}]}, "without thinking"),
        ({"choices": [{"finish_reason": "stop", "message": {"content": "<think></think>4"}}]}, "not in the form"),
        (
            {"choices": [{"finish_reason": "stop", "message": {"content": "<think>\ud83d</think>4"}}]},
            "with a character cut in half",
        ),
    ],
)
def test_answers_that_are_no_traces_are_counted_by_why(chat, problems, tmp_path, reply, why):
    chat.say = lambda *_: reply
    done = collect(teacher(chat), problems, 1, tmp_path / "t.jsonl")
    assert done.traces == 0 and dict(done.refusals) == {why: 3}
    assert why in done.as_text()


def test_a_teacher_that_comes_back_goes_on_and_one_that_was_never_there_is_refused_at_once(chat, problems, tmp_path):
    pauses = []
    away = ChatTeacher(chat.url, SAMPLING, requests=1, pause=pauses.append)
    address = away._api.url
    away._api.url = "http://127.0.0.1:9/v1"  # while it starts anew

    def wait(seconds):
        pauses.append(seconds)
        away._api.url = address

    away._api._pause = wait
    assert collect(away, problems[:1], 1, tmp_path / "t.jsonl").answers == 1 and pauses == [1.0]
    with pytest.raises(ServerError, match=r"did not answer.*--teacher takes") as refused:
        ChatTeacher("http://127.0.0.1:9", SAMPLING, pause=pauses.append)
    assert pauses == [1.0] and "\n" not in str(refused.value)


def test_a_teacher_too_slow_for_the_deadline_is_one_clear_error_and_what_came_before_is_kept(
    chat, problems, tmp_path, monkeypatch
):
    answer = chat.say

    def slow_from_the_third_on(self, value, number):
        if number == 3:
            monkeypatch.setattr("eval.sampling.json_api.REPLY_SECONDS", -1.0)
        return answer(self, value, number)

    chat.say = slow_from_the_third_on
    with pytest.raises(ServerError, match="was still answering after") as caught:
        collect(teacher(chat), problems, 2, tmp_path / "t.jsonl")
    assert "\n" not in str(caught.value) and len(chat.asked) == 3
    monkeypatch.setattr("eval.sampling.json_api.REPLY_SECONDS", 60.0)
    chat.say = answer
    assert collect(teacher(chat), problems, 2, tmp_path / "t.jsonl").answers == 6 and len(chat.asked) == 3 + 4


def test_a_line_without_an_end_in_a_file_that_is_not_ours_is_kept(chat, problems, tmp_path):
    other = {"prompt": "2 + 2?", "completion": "<think>four</think>4"}
    (tmp_path / "t.jsonl").write_text(json.dumps(other))
    done = collect(teacher(chat), problems, 1, tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert rows[0] == other and len(rows) == 1 + done.traces


@pytest.mark.parametrize("reply", [{"oops": 1}, [], {"choices": []}, {"choices": [{"message": {"content": [1]}}]}])
def test_a_teacher_that_answers_rubbish_is_one_clear_error(chat, problems, tmp_path, reply):
    chat.say = lambda *_: reply
    with pytest.raises(ServerError, match="expected choices with a message"):
        collect(teacher(chat), problems, 1, tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[" * 100_000, "give the address of a server of OpenAI's API."),
        (b"\xff", "did not answer with JSON"),
        (b" " * 200_000, "more than 100,000 bytes"),
    ],
    ids=["nested without end", "no text", "no end"],
)
def test_a_teacher_whose_reply_cannot_be_read_is_one_clear_error(chat, problems, tmp_path, monkeypatch, raw, message):
    monkeypatch.setattr("eval.sampling.json_api.MOST_BYTES", 100_000)
    chat.raw = raw
    with pytest.raises(ServerError, match=message) as caught:
        collect(teacher(chat), problems[:1], 1, tmp_path / "t.jsonl")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_busy_server_is_asked_again_and_not_for_ever(chat, problems, tmp_path):
    chat.last, chat.code = 0, 503
    with pytest.raises(ServerError, match="answered 503"):
        collect(teacher(chat), problems[:1], 1, tmp_path / "t.jsonl")
    assert len(chat.asked) == 6


def test_the_script_asks_a_server_and_says_what_it_kept(chat, tmp_path, script):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"arithmetic": {"products": 1.0}}, "max_completion_length": 8}))
    few = ("--config", config, "--problems", 2, "--samples", 2, "--output", tmp_path / "t.jsonl", "--requests", 1)
    done = script("collect", "--teacher", chat.url, *few)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 answers are verified and kept; the rest: 2 wrong" in done.stdout


def test_the_script_samples_a_checkpoint(checkpoint, tmp_path, script):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"arithmetic": {}}, "max_completion_length": 8}))
    few = ("--config", config, "--problems", 2, "--samples", 2, "--output", tmp_path / "t.jsonl")
    done = script("collect", "--teacher", checkpoint, *few)
    assert done.returncode == 0, done.stderr
    assert "of 4 answers are verified and kept" in done.stdout
    assert len((tmp_path / "t.jsonl.asked").read_text().splitlines()) == 4
