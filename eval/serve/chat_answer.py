"""The answer to a chat request in the form of OpenAI's API: whole, or in chunks as the tokens are drawn.

The thinking is beside `content` under both of its names: `reasoning_content`, as DeepSeek has it, and `reasoning`,
as newer versions of vLLM do. Thinking tokens are counted apart, as o1 has it, in
`usage.completion_tokens_details.reasoning_tokens`.
"""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eval.serve.chat_request import ChatRequest
from eval.serve.reader import CompletionReader, Delta
from eval.serve.served import Served
from train.model.prompts import token_counts
from train.rollout.session import Progress


@dataclass(slots=True)
class Choice:
    """One sample, unfinished or finished. `logprobs` covers the tokens of thinking and answer, without tags."""

    index: int
    reader: CompletionReader
    thinking: str = ""
    answer: str = ""
    finish_reason: str | None = None
    logprobs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"reasoning_content": [], "content": []})

    def add(self, delta: Delta) -> None:
        """Add the text of some tokens."""
        self.thinking += delta.thinking
        self.answer += delta.answer


class Answer:
    """The answer to one request: `take` the additions of each step, then `whole`, or the `chunks` of each step."""

    def __init__(self, request: ChatRequest, served: Served) -> None:
        self.request = request
        self.served = served
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.choices = [
            Choice(index, CompletionReader(served.tokenizer, opened=served.opened, stops=request.stops))
            for index in range(request.samples)
        ]

    @property
    def done(self) -> bool:
        """Whether every choice has ended."""
        return all(choice.finish_reason for choice in self.choices)

    def take(self, progress: Progress) -> tuple[Choice, Delta, dict[str, list[dict[str, Any]]]]:
        """Read a step's additions; the choice, its new text, and the new tokens' log-probabilities."""
        choice = self.choices[progress.sample]
        thinking, answer = "", ""
        logprobs: dict[str, list[dict[str, Any]]] = {"reasoning_content": [], "content": []}
        is_last = progress.rollout is not None
        for number, (token, logprob) in enumerate(zip(progress.token_ids, progress.logprobs, strict=True), 1):
            if choice.finish_reason:  # a stop string ended it, which the engine does not know yet
                break
            before = choice.reader.place
            delta = choice.reader.add([token], last=is_last and number == len(progress.token_ids))
            thinking, answer = thinking + delta.thinking, answer + delta.answer
            if self.request.logprobs and before == choice.reader.place and token not in self.served.sampling.stop_ids:
                kind = "reasoning_content" if before == "thinking" else "content"
                logprobs[kind].append(self._logprob(token, logprob))
            if choice.reader.stopped:
                choice.finish_reason = "stop"
        if progress.rollout is not None and not choice.finish_reason:
            choice.finish_reason = "length" if progress.rollout.finish_reason == "length" else "stop"
        delta = Delta(thinking, answer)
        choice.add(delta)
        for kind, tokens in logprobs.items():
            choice.logprobs[kind] += tokens
        return choice, delta, logprobs

    def _logprob(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.served.tokenizer.decode([token])
        whole = "\ufffd" not in text  # otherwise it is a part of a character, whose bytes are not the sign's
        return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None, "top_logprobs": []}

    def usage(self) -> dict[str, Any]:
        """Tokens of the prompt, of all choices, and of their thinking; tags and stop tokens count as completion."""
        prompt = len(self.request.prompt)
        completion = sum(len(choice.reader.ids) for choice in self.choices)
        counts = [token_counts(self.served.tokenizer, choice.reader.ids, self.served.opened) for choice in self.choices]
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": sum(thinking for thinking, _ in counts)},
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        return self._envelope("chat.completion") | {
            "choices": [
                {
                    "index": choice.index,
                    "message": {"role": "assistant", "content": choice.answer, "refusal": None}
                    | (thought(choice.thinking) if self.request.show_thinking else {}),
                    "logprobs": self._shown(choice.logprobs) if self.request.logprobs else None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in self.choices
            ],
            "usage": self.usage(),
        }

    def opening(self) -> Iterator[bytes]:
        """The chunks that begin a stream."""
        for choice in self.choices:
            yield self._chunk(choice.index, {"role": "assistant", "content": ""})

    def chunks(self, progress: Progress) -> Iterator[bytes]:
        """The chunks for a step's additions."""
        if self.choices[progress.sample].finish_reason:
            return
        choice, delta, logprobs = self.take(progress)
        entries = self._shown(logprobs) if self.request.logprobs and any(logprobs.values()) else None
        if delta.thinking and self.request.show_thinking:
            yield self._chunk(choice.index, thought(delta.thinking))
        if delta.answer or entries:
            yield self._chunk(choice.index, {"content": delta.answer}, logprobs=entries)
        if choice.finish_reason:
            yield self._chunk(choice.index, {}, finish_reason=choice.finish_reason)

    def closing(self) -> Iterator[bytes]:
        """The last chunks of a stream."""
        if self.request.usage_in_stream:
            yield event(self._envelope("chat.completion.chunk") | {"choices": [], "usage": self.usage()})
        yield b"data: [DONE]\n\n"

    def _shown(self, logprobs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        hidden: dict[str, Any] = {} if self.request.show_thinking else {"reasoning_content": []}
        return {**logprobs, **hidden, "refusal": None}

    def _chunk(
        self, index: int, delta: dict[str, str], *, finish_reason: str | None = None, logprobs: Any = None
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return event(self._envelope("chat.completion.chunk") | {"choices": [choice]})

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.served.name}


def thought(text: str) -> dict[str, str]:
    """The fields of a message or a delta that hold its thinking, the same under both names."""
    return {"reasoning_content": text, "reasoning": text}


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content)}\n\n".encode()


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error in the form that OpenAI's clients read."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
