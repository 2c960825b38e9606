"""Chat with a checkpoint, or with a server, in the terminal: the thinking as it comes, then the marked answer."""

import json
import queue
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from eval.serve.batcher import Batcher, EngineFailed
from eval.serve.chat_answer import Answer
from eval.serve.chat_request import EFFORTS, RequestError, read_chat_request
from eval.serve.marking import Marker
from eval.serve.reader import Delta
from eval.serve.served import Served
from train.rollout.session import Progress

HELP = """/new             forget the conversation
/problem         ask a held-out problem of the run
/budget N        thinking tokens, exactly; /budget off for none
/effort WORD     {efforts}; /effort off for none
/set NAME VALUE  temperature, top_p, seed, max_completion_tokens; /set NAME off for the default
/thinking on|off show the thinking
/quit            or Ctrl-D; Ctrl-C ends an answer"""


class TalkError(ValueError):
    """No answer came; the message is one line."""


class Talker(Protocol):
    """Answers questions."""

    def reply(self, body: dict[str, Any]) -> Iterator[Delta | dict[str, Any]]:
        """The pieces of an answer as they come, then its usage, with `finish_reason`. Raises TalkError."""
        ...


class LocalTalker:
    """A checkpoint in this process."""

    def __init__(self, served: Served, batcher: Batcher) -> None:
        self._served = served
        self._batcher = batcher

    def reply(self, body: dict[str, Any]) -> Iterator[Delta | dict[str, Any]]:
        """See `Talker`."""
        events: queue.SimpleQueue[Progress | EngineFailed] = queue.SimpleQueue()
        try:
            request = read_chat_request(body, self._served)
            ticket = self._batcher.submit(request.prompt, 1, request.sampling, events.put)
        except (RequestError, EngineFailed) as error:
            raise TalkError(str(error)) from None
        answer = Answer(request, self._served)
        try:
            while not answer.done:
                news = events.get()
                if isinstance(news, EngineFailed):
                    raise TalkError(str(news))
                yield answer.take(news)[1]
        finally:
            self._batcher.cancel(ticket)
        yield answer.usage() | {"finish_reason": answer.choices[0].finish_reason}


class RemoteTalker:
    """A server at `url`: this one's, vLLM's or OpenAI's."""

    def __init__(self, url: str, model: str = "") -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._client = httpx.Client(timeout=httpx.Timeout(600.0, connect=10.0), trust_env=False)
        self.model = model or self._first_model()

    def reply(self, body: dict[str, Any]) -> Iterator[Delta | dict[str, Any]]:
        """See `Talker`."""
        usage: dict[str, Any] = {}
        finish_reason = None
        request = body | {"model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._client.stream("POST", f"{self._url}/chat/completions", json=request) as response:
                if response.status_code != 200:
                    response.read()
                    raise TalkError(_reason(response))
                for line in response.iter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise TalkError(str(chunk["error"].get("message")))
                    usage = dict(chunk.get("usage") or usage)
                    for choice in chunk["choices"]:
                        finish_reason = choice.get("finish_reason") or finish_reason
                        new = choice["delta"]
                        thinking = new.get("reasoning_content") or new.get("reasoning") or ""  # vLLM's newer name
                        content = new.get("content") or ""
                        if not isinstance(thinking, str) or not isinstance(content, str):
                            raise TypeError("a delta holds no text")
                        yield Delta(thinking, content)
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, TalkError):
                raise
            raise TalkError(
                f"{self._url} did not answer as a server should ({type(error).__name__}: {error})."
            ) from None
        yield usage | {"finish_reason": finish_reason}

    def _first_model(self) -> str:
        try:
            response = self._client.get(f"{self._url}/models")
            response.raise_for_status()
            return str(response.json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise TalkError(f"{self._url}/models did not answer as a server should ({reason}).") from None


@dataclass(slots=True)
class Terminal:
    """A conversation. `write` gets text as it comes; `colours` says that it understands escape sequences."""

    talker: Talker
    marker: Marker
    write: Callable[[str], object] = sys.stdout.write
    colours: bool = False
    show_thinking: bool = True
    remembers: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    conversation: list[dict[str, str]] = field(default_factory=list)

    def say(self, line: str) -> bool:
        """Run one line; False where it ends the conversation."""
        if line.startswith("/"):
            return self._command(line[1:].split())
        if line.strip():
            self.ask(line.strip())
        return True

    def ask(self, question: str) -> None:
        """Ask, and write the answer as it comes."""
        message = {"role": "user", "content": question}
        earlier = self.conversation if self.remembers else []
        thinking, answer = "", ""
        usage: dict[str, Any] | None = None
        try:
            for part in self.talker.reply({"messages": [*earlier, message], **self.settings}):
                if isinstance(part, dict):
                    usage = part
                    continue
                if part.thinking and self.show_thinking:
                    self.write(self._in("2", part.thinking))
                if part.answer and thinking and not answer and self.show_thinking:
                    self.write("\n\n")
                thinking, answer = thinking + part.thinking, answer + part.answer
                self.write(part.answer)
        except TalkError as error:
            self.write(f"\n{self._in('31', f'error: {error}')}\n")
            return
        except KeyboardInterrupt:
            self.write("\n(stopped)\n")
            return
        self.conversation += [message, {"role": "assistant", "content": answer}]
        self.write("\n")
        if usage:
            self._close(question, thinking, answer, usage)

    def _close(self, question: str, thinking: str, answer: str, usage: dict[str, Any]) -> None:
        """Write the verdict on a finished answer: whether it is right, which steps are wrong, and its length."""
        marks = self.marker.mark(question, thinking, answer) if usage["finish_reason"] == "stop" else None
        if marks:
            verdict = self._in("32", "right") if marks["correct"] else self._in("31", f"wrong: {marks['reason']}")
            pieces = [piece for line in marks["lines"] for piece in line["pieces"] if piece["correct"] is not None]
            right = sum(piece["correct"] for piece in pieces)
            self.write(f"{verdict}; {right} of {len(pieces)} steps are right\n")
            for piece in pieces:
                if not piece["correct"]:
                    self.write(self._in("31", f"  wrong: {piece['text']} (is {piece['should_be']})") + "\n")
        cut = ", cut off" if usage["finish_reason"] == "length" else ""
        reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", "?")
        counts = f"{usage.get('completion_tokens', '?')} tokens, {reasoning} of them thinking{cut}"
        self.write(self._in("2", counts) + "\n")

    def _command(self, words: Sequence[str]) -> bool:
        name, values = (words[0] if words else "help"), list(words[1:])
        if name in ("quit", "exit"):
            return False
        if name == "new":
            self.conversation.clear()
        elif name == "problem":
            problem = self.marker.offer()
            self.write(
                f"> {problem.prompt}\n" if problem else "The run of this checkpoint is not known; give --config.\n"
            )
            if problem:
                self.ask(problem.prompt)
        elif name == "thinking" and values in (["on"], ["off"]):
            self.show_thinking = values == ["on"]
        elif name in ("budget", "effort") and len(values) == 1:
            for other in ("thinking_budget", "reasoning_effort"):
                self.settings.pop(other, None)
            self._set("thinking_budget" if name == "budget" else "reasoning_effort", values[0])
        elif name == "set" and len(values) == 2:
            self._set(*values)
        else:
            self.write(HELP.format(efforts="|".join(EFFORTS)) + "\n")
        return True

    def _set(self, name: str, value: str) -> None:
        self.settings.pop(name, None)
        if value != "off":
            try:
                self.settings[name] = json.loads(value)
            except ValueError:
                self.settings[name] = value

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours else text


def _reason(response: httpx.Response) -> str:
    """The message of a server that refused a request."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{response.url} answered {response.status_code}"


@contextmanager
def local_talker(served: Served, batcher: Batcher) -> Iterator[LocalTalker]:
    """A talker over `batcher`, which runs until the context ends."""
    batcher.start()
    try:
        yield LocalTalker(served, batcher)
    finally:
        batcher.close()
