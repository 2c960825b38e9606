"""Reasoning traces from a JSONL or parquet file or the hub, as completions with thinking to learn from.

A row has one of these shapes:

    messages                         a conversation that ends with the assistant's turn
    prompt, completion               texts, or lists of messages
    problem, solution[, thinking]    texts

The thinking is between tags in the completion (`TAGS`), or apart: as `thinking`, or as the `reasoning_content`
(vLLM: `reasoning`) of the last message. A row may hold what its answer is checked against: `task_problem`, a problem of
ours as JSON (as `scripts/collect.py` writes it), or `answer`, a gold answer of mathematics.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data.fixed_sets.fixed_set import content_of
from data.fixed_sets.rows import Row, stream_rows
from data.mathematics.extract import gold_answer
from data.problem import Problem
from data.response import CLOSE, OPEN

TAGS = (  # how others write <think>, </think>, and what stands around the answer
    ("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<thinking>", "</thinking>", "<answer>", "</answer>"),
    ("<reasoning>", "</reasoning>", "<answer>", "</answer>"),
    ("<|begin_of_think|>", "<|end_of_think|>", "<answer>", "</answer>"),
)
SHAPES = (("messages",), ("prompt", "completion"), ("problem", "solution"))
COLUMNS = ("messages", "prompt", "completion", "problem", "solution", "thinking", "task_problem", "answer")
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """The source of the traces, and their share of the cold start."""

    source: str  # a .jsonl or .parquet file, a folder of them, or an id on the hub
    subset: str | None = None  # the configuration of a set on the hub
    split: str = "train"
    share: float = 1.0  # of the cold start's examples; the rest are the tasks' own demonstrations
    max_tokens: int | None = None  # of a completion; max_completion_length by default
    unverified: bool = True  # whether traces that cannot be checked are used

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; expected more than 0, and 1 at most.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; expected at least 1, or nothing.")


@dataclass(frozen=True, slots=True)
class ReasoningTrace:
    """A conversation without its system message, and the completion to learn, `<think>...</think>answer`.

    `problem` is the problem that the row names, or None; `gold` is the row's answer of mathematics, or None.
    """

    conversation: list[dict[str, str]]
    completion: str
    problem: Problem | None = None
    gold: str | None = None

    @property
    def question(self) -> str:
        """The user's last message."""
        return self.conversation[-1]["content"]


class NoTrace(ValueError):
    """A row that is not a trace. The message says why, in a few words that are counted."""


def read_traces(settings: TraceSettings) -> Iterator[ReasoningTrace | NoTrace]:
    """Yield each row as a trace, or as the reason why it is none. The source is read no further than the caller goes.

    Raises ValueError where the source cannot be read, or has none of the shapes.
    """
    for row in stream_rows(settings.source, COLUMNS, subset=settings.subset, split=settings.split):
        if row.fault is None and not any(set(shape) <= row.values.keys() for shape in SHAPES):
            columns = f"only {', '.join(row.values)}" if row.values else "none of its columns"
            shapes = "; or ".join(" and ".join(shape) for shape in SHAPES)
            raise ValueError(f"{row.where} holds no trace: it has {columns}; expected {shapes}.")
        try:
            yield trace_of(row)
        except NoTrace as reason:
            yield reason


def trace_of(row: Row) -> ReasoningTrace:
    """The trace in a row. Raises NoTrace."""
    if row.fault:
        raise NoTrace("unreadable")
    values = row.values
    thinking = _text(values.get("thinking"))
    if values.get("messages") is not None:
        conversation = _messages(values["messages"])
    elif values.get("prompt") is not None:
        conversation = [*_messages(values["prompt"], "user"), *_messages(values.get("completion"), "assistant")]
    else:
        conversation = [*_messages(values.get("problem"), "user"), *_messages(values.get("solution"), "assistant")]
    *prompt_turns, last = conversation
    prompt_turns = [
        {"role": turn["role"], "content": turn["content"]} for turn in prompt_turns if turn["role"] != "system"
    ]
    if last["role"] != "assistant" or not prompt_turns or prompt_turns[-1]["role"] != "user":
        raise NoTrace("no question with an answer behind it")
    completion = with_thinking(last["content"], thinking or last.get("thinking", ""))
    gold = values.get("answer")
    return ReasoningTrace(
        prompt_turns,
        completion,
        _problem(values.get("task_problem")),
        str(gold) if isinstance(gold, str | int) else None,
    )


def gold_problem(trace: ReasoningTrace, tasks: Collection[str]) -> Problem | None:
    """The problem of mathematics that checks a trace's gold answer, where mathematics is a task of the run."""
    task = next((name for name in sorted(tasks) if name.partition(":")[0] == "math"), None)
    gold = gold_answer(trace.gold) if trace.gold and task else None
    if task is None or gold is None:
        return None
    return Problem(task, trace.question, f"math {content_of(trace.question)}", {"answer": gold})


def with_thinking(text: str, thinking: str = "") -> str:
    """A completion in our form, from a text with tags of any kind, or from a separate `thinking`.

    A text with our tags stays as it is, to the last space. Raises NoTrace where there is no thinking, and for text that
    no file can hold: half of a surrogate pair, which JSON lets through where a text was cut in a character.
    """
    _check_unicode(text + thinking)
    if thinking and OPEN not in text and CLOSE not in text:
        return f"{OPEN}\n{thinking.strip()}\n{CLOSE}\n\n{text.strip()}"
    for begin, end, answer, closed in TAGS:
        if begin in text and end in text:
            text = text.replace(begin, OPEN).replace(end, CLOSE).replace(answer, "").replace(closed, "").strip()
            break
    if CLOSE not in text:
        raise NoTrace("without thinking")
    if OPEN not in text:  # the template had opened it
        text = f"{OPEN}\n{text.lstrip()}"
    return text.lstrip()


def _messages(value: Any, role: str | None = None) -> list[dict[str, str]]:
    """Messages, or a text as one message of `role`. Raises NoTrace."""
    if isinstance(value, str) and role and value.strip():
        _check_unicode(value)
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise NoTrace("no conversation")
    return [_message(turn) for turn in value]


def _message(turn: Any) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise NoTrace("no conversation")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = {"human": "user", "gpt": "assistant"}.get(str(role), role)
    if role not in ROLES or not isinstance(content, str):
        raise NoTrace("no conversation")
    _check_unicode(content)
    thinking = _text(turn.get("reasoning_content") or turn.get("reasoning") or turn.get("thinking"))
    return {"role": str(role), "content": content, "thinking": thinking}


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoTrace("with a character cut in half") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _problem(line: Any) -> Problem | None:
    if line is None:
        return None
    try:
        return Problem.from_json(line)
    except (TypeError, ValueError):
        raise NoTrace("unreadable") from None
