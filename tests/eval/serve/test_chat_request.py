"""Requests: what is asked becomes a prompt and a `Sampling`; what cannot be done is refused by name."""

import json

import pytest
from serving import save_tiny

from eval.serve.chat_request import RequestError, read_body, read_chat_request
from eval.serve.listen import Options
from eval.serve.served import load_served

ASKED = [{"role": "user", "content": "numbers 2 6 8 target 14"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return load_served(save_tiny(tmp_path_factory.mktemp("tiny"), context=128), Options())[1]


def read(served, **fields):
    return read_chat_request({"messages": ASKED, **fields}, served)


def test_a_plain_request_may_fill_the_context(served):
    asked = read(served)
    assert len(asked.prompt) + asked.sampling.max_new_tokens == 128
    assert asked.sampling.temperature == 1 and asked.sampling.thinking.budget is None
    assert asked.samples == 1 and not asked.stream and asked.show_thinking
    assert read(served).sampling.seed != asked.sampling.seed


def test_what_is_asked_arrives(served):
    asked = read(
        served, model=served.name, max_completion_tokens=50, temperature=0, top_p=0.5, top_k=-1, seed=-3, n=4, stop="x",
        thinking_budget=7, include_reasoning=False, tools=[], presence_penalty=0.0, user="me",
    )  # fmt: skip
    assert (asked.sampling.max_new_tokens, asked.sampling.temperature, asked.sampling.top_p) == (50, 0, 0.5)
    assert (asked.sampling.top_k, asked.sampling.seed, asked.samples, asked.stops) == (0, -3, 4, ("x",))
    assert asked.sampling.thinking.budget == 7 and not asked.show_thinking


def test_an_effort_is_a_share_of_the_completion(served):
    budgets = [
        read(served, reasoning_effort=effort, max_completion_tokens=100).sampling.thinking.budget
        for effort in ("none", "minimal", "low", "medium", "high")
    ]
    assert budgets == [0, 10, 20, 50, 80]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "gpt-4o"}, "is not served here; ask for"),
        ({"messages": []}, "messages is []; expected a list"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "has the role 'tool'; expected one of: system"),
        ({"messages": ["x"]}, "has the role None"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "expected a text, or parts of type text",
        ),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half of a surrogate pair"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "The last message must be the user's"),
        ({"messages": [{"role": "user", "content": "1 " * 200}]}, "together; shorten them"),
        ({"max_completion_tokens": 32768}, "so at most 119 are left"),
        ({"max_completion_tokens": 0}, "max_completion_tokens is 0; expected a whole number, 1 to 2,147,483,648"),
        ({"max_completion_tokens": 10**400}, "expected a whole number, 1 to 2,147,483,648"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "send one of them"),
        ({"temperature": float("nan")}, "temperature is nan; expected a number, 0 for greedy decoding, or"),
        ({"temperature": 1e-300}, "temperature is 1e-300; expected a number, 0 for greedy decoding, or"),
        ({"temperature": 1e-38}, "at least 1e-05, and at most 2"),
        ({"temperature": 2.5}, "and at most 2"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_p": 0}, "top_p is 0; expected a number, more than 0 and at most 1"),
        ({"n": True}, "n is True; expected a whole number, 1 to 128"),
        ({"n": 1.5}, "n is 1.5"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number"),
        ({"stream": 1}, "stream is 1; expected true or false"),
        ({"stop": ["a"] * 5}, "expected up to 4 texts"),
        ({"stop": [""]}, "expected up to 4 texts"),
        ({"reasoning_effort": "huge"}, "reasoning_effort is 'huge'; expected one of: none, minimal"),
        ({"reasoning_effort": "low", "thinking_budget": 4}, "exclude each other"),
        ({"thinking_budget": 4, "thinking_token_budget": 5}, "send one of them"),
        ({"thinking_budget": -1}, "thinking_budget is -1; expected a whole number, 0 to 2,147,483,648"),
        ({"thinking_budget": 10**18}, "expected a whole number, 0 to 2,147,483,648"),
        ({"presence_penalty": 0.5}, "which this server cannot do; leave it out"),
        ({"tools": [{"type": "function"}]}, "which this server cannot do"),
        ({"top_logprobs": 3}, "top_logprobs is 3, which this server cannot do"),
        ({"max_new_tokens": 3}, "is no setting of this server"),
        ({"temprature": 1}, "did you mean temperature?"),
    ],
)
def test_what_cannot_be_done_is_one_line(served, fields, message):
    with pytest.raises(RequestError) as caught:
        read(served, **fields)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b'{"n": NaN}', b'{"n": ' + b"9" * 5000 + b"}", b"[" * 10**5, b"\xff"]
)
def test_a_body_that_is_no_json_is_refused(body):
    with pytest.raises(RequestError, match="The body is"):
        read_body(body)


def test_no_system_refuses_a_system_message_as_o1_did(tmp_path):
    _, served = load_served(save_tiny(tmp_path), Options(system=False))
    for role in ("system", "developer"):
        with pytest.raises(RequestError, match="takes no system message"):
            read_chat_request({"messages": [{"role": role, "content": "x"}, *ASKED]}, served)
    _, served = load_served(save_tiny(tmp_path), Options())
    asked = read_chat_request({"messages": [{"role": "developer", "content": "so"}, *ASKED]}, served)
    assert served.tokenizer.decode(asked.prompt).startswith("<|system|>so<|user|>")


def test_a_published_decoding_is_what_a_plain_request_is_drawn_by(tmp_path):
    path = save_tiny(tmp_path)
    published = tmp_path / "generation_config.json"
    said = json.loads(published.read_text()) | {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
    published.write_text(json.dumps(said))
    _, served = load_served(path, Options())
    assert (served.sampling.temperature, served.sampling.top_p, served.sampling.top_k) == (0.6, 0.95, 20)
    assert read(served, temperature=1.0).sampling.temperature == 1.0
    published.write_text(json.dumps(said | {"temperature": 1e-6}))
    assert load_served(path, Options())[1].sampling.temperature == 0


def test_tags_of_several_tokens_take_no_budget(served):
    from dataclasses import replace

    plain = replace(served, sampling=replace(served.sampling, thinking=None))
    with pytest.raises(RequestError, match="writes the thinking tags as several tokens"):
        read(plain, thinking_budget=5)
    assert read(plain).sampling.thinking is None


def test_a_server_that_hides_the_thinking_hides_it_unless_a_request_wants_it(tmp_path):
    _, served = load_served(save_tiny(tmp_path), Options(show_thinking=False))
    assert not read(served).show_thinking and read(served, include_reasoning=True).show_thinking
