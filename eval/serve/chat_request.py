"""A chat request as OpenAI's clients send it: read, checked, and turned into prompt ids and a `Sampling`.

A setting that the server cannot obey is refused by name: to ignore it would give a wrong answer.
"""

import difflib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from data.terminal import first_line
from eval.serve.served import Served
from train.config.values import Option, Range, read_value
from train.model.prompts import prompt_ids
from train.rollout.interface import LEAST_TEMPERATURE, TEMPERATURES, Sampling

MOST_SAMPLES = 128
TEMPERATURE = Range(least=LEAST_TEMPERATURE, most=2, also=(0.0,), words=f"{TEMPERATURES}, and at most 2")
_MOST_TOKENS = 2**31
MOST_STOPS, MOST_STOP_CHARACTERS = 4, 200
# The share of the completion that each effort allows for thinking; the rest is for the answer.
EFFORTS = {"none": 0.0, "minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8}
# Accepted without effect: names of users and where to store things.
WITHOUT_EFFECT = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls",
)  # fmt: skip
# Accepted only at values without effect.
NOTHING: dict[str, tuple[Any, ...]] = {
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "top_logprobs": (None, 0),
}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class RequestError(ValueError):
    """A request that cannot be served, with the HTTP status, and the field and code that OpenAI's clients read."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `sampling` has the seed, the limit and the budget; `question` is the last user message."""

    prompt: list[int]
    samples: int
    sampling: Sampling
    stops: tuple[str, ...]
    stream: bool
    usage_in_stream: bool
    logprobs: bool
    show_thinking: bool
    question: str


def read_body(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`. Raises RequestError."""
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body is no JSON that can be read: {error}.") from None
    if not isinstance(content, dict):
        raise RequestError(f"The body is a {type(content).__name__}; expected an object with model and messages.")
    return content


def read_chat_request(body: Mapping[str, Any], served: Served) -> ChatRequest:
    """Check `body` against what `served` can do. Raises RequestError naming the first field that is wrong."""
    fields = _Fields(body)
    fields.refuse_what_is_unknown()
    model = fields.take("model", str, served.name)
    if model != served.name:
        raise RequestError(
            f"model is {model!r}, which is not served here; ask for {served.name!r}.",
            status=404, param="model", code="model_not_found",
        )  # fmt: skip
    conversation = _conversation(body.get("messages"), served)
    prompt = _prompt(conversation, served)
    max_tokens = _allowed(fields, len(prompt), served)
    stream = fields.take("stream", bool, False)
    options = fields.take("stream_options", dict, {})
    default = served.sampling
    sampling = Sampling(
        max_new_tokens=max_tokens,
        stop_ids=default.stop_ids,
        temperature=fields.number("temperature", default.temperature, TEMPERATURE),
        top_p=fields.number("top_p", default.top_p, Range(above=0, most=1)),
        top_k=max(0, fields.whole("top_k", default.top_k, Range(least=-1))),
        min_p=fields.number("min_p", default.min_p, Range(least=0, below=1)),
        seed=fields.take("seed", int, None) if body.get("seed") is not None else secrets.randbits(62),
        thinking=default.thinking,
    )
    return ChatRequest(
        prompt=prompt,
        samples=fields.whole("n", 1, Range(least=1, most=MOST_SAMPLES)),
        sampling=_with_budget(sampling, _budget(fields, max_tokens), served),
        stops=_stops(body.get("stop")),
        stream=stream,
        usage_in_stream=bool(options.get("include_usage")),
        logprobs=fields.take("logprobs", bool, False),
        show_thinking=fields.take("include_reasoning", bool, served.show_thinking),
        question=next(turn["content"] for turn in reversed(conversation) if turn["role"] == "user"),
    )


class _Fields:
    """The fields of a body, read one by one with their types and ranges."""

    KNOWN = (
        "model", "messages", "max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed",
        "n", "stop", "stream", "stream_options", "logprobs", "reasoning_effort", "thinking_budget",
        "thinking_token_budget", "include_reasoning",
    )  # fmt: skip

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def refuse_what_is_unknown(self) -> None:
        for name, value in self._body.items():
            if name in NOTHING and not any(value == nothing for nothing in NOTHING[name]):
                raise RequestError(f"{name} is {_shown(value)}, which this server cannot do; leave it out.", param=name)
            if name not in (*self.KNOWN, *NOTHING, *WITHOUT_EFFECT):
                near = difflib.get_close_matches(name, self.KNOWN, 1)
                hint = f"; did you mean {near[0]}?" if near else "; leave it out."
                raise RequestError(f"{_shown(name)} is no setting of this server{hint}", param=name)

    def take(self, name: str, kind: type, default: Any) -> Any:
        """The field's value where it is of its type; `default` where it is missing or null."""
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise RequestError(f"{name} is {_shown(value)}; expected {_KINDS[kind]}.", param=name)
        return value

    def number(self, name: str, default: float, range: Range, kind: str = "float") -> Any:
        """A number in its range."""
        value, option = self._body.get(name), Option(name, (kind,), range=range)
        if value is None:
            return default
        if isinstance(value, str | bool):
            raise RequestError(f"{name} is {_shown(value)}; expected {option.expected}.", param=name)
        try:
            return read_value(option, value)
        except ValueError as error:
            raise RequestError(str(error), param=name) from None

    def whole(self, name: str, default: int, range: Range) -> int:
        """A whole number in its range."""
        return int(self.number(name, default, range, "int"))

    def one_of_two(self, names: tuple[str, str], default: int, range: Range) -> int:
        """A whole number that has two names; where both are sent they must agree."""
        first, second = (self.whole(name, default, range) for name in names)
        if default not in (first, second) and first != second:
            raise RequestError(f"{names[0]} is {first} and {names[1]} is {second}; send one of them.", param=names[1])
        return second if first == default else first


_KINDS = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object", list: "a list"}


def _conversation(messages: Any, served: Served) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RequestError(
            f"messages is {_shown(messages)}; expected a list with at least one message.", param="messages"
        )
    conversation = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in ROLES:
            raise RequestError(
                f"messages[{number}] has the role {_shown(role)}; expected one of: {', '.join(ROLES)}.",
                param="messages",
            )
        conversation.append({"role": ROLES[role], "content": _content(message.get("content"), number)})
    if any(turn["role"] == "system" for turn in conversation):
        if not served.system:
            raise RequestError(
                "This model takes no system message (the server runs with --no-system); put it into the user message.",
                param="messages", code="unsupported_value",
            )  # fmt: skip
    elif served.system_prompt:
        conversation.insert(0, {"role": "system", "content": served.system_prompt})
    if conversation[-1]["role"] != "user":
        raise RequestError("The last message must be the user's, for the model to answer.", param="messages")
    return conversation


def _content(content: Any, number: int) -> str:
    """The text of a message, which may be a list of parts."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise RequestError(
                f"messages[{number}].content is {_shown(content)}; expected a text, or parts of type text.",
                param="messages",
            )
        texts.append(text)
    whole = "".join(texts)
    if any("\ud800" <= character <= "\udfff" for character in whole):
        raise RequestError(
            f"messages[{number}].content holds half of a surrogate pair; send it as UTF-8.", param="messages"
        )
    return whole


def _prompt(conversation: list[dict[str, str]], served: Served) -> list[int]:
    try:
        return prompt_ids(served.tokenizer, conversation)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise RequestError(
            f"The model's chat template does not take these messages: {first_line(error)}.", param="messages"
        ) from None


def _allowed(fields: _Fields, prompt: int, served: Served) -> int:
    """The most tokens that the completion may have."""
    room = served.longest - prompt
    if room < 1:
        raise RequestError(
            f"The messages are {prompt} tokens, and prompt and completion may have {served.longest} together; shorten "
            "them.",
            param="messages", code="context_length_exceeded",
        )  # fmt: skip
    names, sizes = ("max_completion_tokens", "max_tokens"), Range(least=1, most=_MOST_TOKENS)
    max_tokens = fields.one_of_two(names, 0, sizes) or room
    if max_tokens > room:
        raise RequestError(
            f"max_completion_tokens is {max_tokens}; the messages are {prompt} tokens and prompt and completion may "
            f"have {served.longest} together, so at most {room} are left.",
            param="max_completion_tokens", code="context_length_exceeded",
        )  # fmt: skip
    return max_tokens


def _budget(fields: _Fields, max_tokens: int) -> int | None:
    """The budget of thinking tokens: the request's own, or its effort's share of the completion."""
    effort = fields.take("reasoning_effort", str, None)
    if effort is not None and effort not in EFFORTS:
        raise RequestError(
            f"reasoning_effort is {_shown(effort)}; expected one of: {', '.join(EFFORTS)}.", param="reasoning_effort"
        )
    names = ("thinking_budget", "thinking_token_budget")
    budget = fields.one_of_two(names, -1, Range(least=0, most=_MOST_TOKENS))
    if budget >= 0:
        if effort is not None:
            raise RequestError(
                "thinking_budget and reasoning_effort exclude each other; send one.", param="reasoning_effort"
            )
        return budget
    return None if effort is None else int(EFFORTS[effort] * max_tokens)


def _with_budget(sampling: Sampling, budget: int | None, served: Served) -> Sampling:
    if budget is None:
        return sampling
    if served.thinking is None:
        raise RequestError(
            f"{served.name} writes the thinking tags as several tokens, so it cannot be held to a budget; leave "
            "thinking_budget and reasoning_effort out.",
            param="thinking_budget",
        )
    return replace(sampling, thinking=replace(served.thinking, budget=budget))


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    right = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not right or not all(isinstance(stop, str) and 0 < len(stop) <= MOST_STOP_CHARACTERS for stop in stops):
        raise RequestError(
            f"stop is {_shown(value)}; expected up to {MOST_STOPS} texts of at most {MOST_STOP_CHARACTERS} characters.",
            param="stop",
        )
    return tuple(stops)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _shown(value: Any) -> str:
    """A value for an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
