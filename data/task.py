"""What a task is: a source of problems, and the verifier that judges their answers.

A task is a Python module (or an object made by a family of tasks, such as `gym:<name>`). It must have

- `verify(problem, answer) -> Verdict`, exact and quick: it runs in the training process, once for each rollout;
- where its problems come from, one of two:
  `generate(rng, settings) -> Problem`, for a *procedural* task: draws one problem, all chance from `rng`;
  `problems(settings) -> {split: [Problem, ...]}`, for a *fixed set*: all there are. A set with a `test` (or a
  `validation`) of its own keeps it; splits that it does not have are taken out of its `train`, by content.

It may have

- `Settings`, a dataclass of its difficulty, whose fields a config may set and whose `__post_init__` refuses what is out
  of range; a fixed set's must have a complete `repr`;
- `QUESTION`, what is asked, in plain words, where the prompts alone do not say it; `INSTRUCTIONS`, a system prompt for
  models that have never seen the task;
- `WORDS`, its vocabulary, without which no model from scratch can be trained on it;
- `demonstrate(problem, rng, settings) -> completion`, without which there is no cold start on it; `JUDGEMENTS`, the
  words in which a demonstrated thinking judges itself; and `DOUBTS`, the words that carry it on past its end;
- `parse_trace(problem, thinking) -> Trace`: the evaluation then measures the thinking exactly; without it, by its
  words (`eval.measures.lexical`);
- `recognise(prompt) -> Problem | None`: the chat then judges answers to problems that a person types.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any, Literal

from data.problem import Problem, Verdict
from data.trace import Trace

Split = Literal["train", "validation", "test"]

INSTRUCTIONS = (
    "Think step by step between <think> and </think>, then write the answer alone. "
    "Example: <think>2 + 2 is 4, and 4 + 3 is 7.</think> 7"
)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The settings of a task that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, whatever it was made of; what it lacks is None or empty. `name` is what a config calls it.

    It has either `problems`, or `draw(rng, settings, count)`, which draws so many, or fewer where some are unusable.
    """

    name: str
    verify: Callable[[Problem, str], Verdict]
    draw: Callable[[random.Random, Any, int], list[Problem]] | None = None
    problems: Callable[[Any], Mapping[Split, Sequence[Problem]]] | None = None
    settings: type = NoSettings
    question: str = ""
    instructions: str = INSTRUCTIONS
    words: tuple[str, ...] = ()
    judgements: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    demonstrate: Callable[[Problem, random.Random, Any], str] | None = None
    parse_trace: Callable[[Problem, str], Trace] | None = None
    recognise: Callable[[str], Problem | None] | None = None

    def trace(self, problem: Problem, thinking: str) -> Trace:
        """The parsed thinking; an empty trace where the task has no parser."""
        return self.parse_trace(problem, thinking) if self.parse_trace else Trace()


# Names in a task's module; in lower case, those of a Task's fields.
ATTRIBUTES = (
    "verify", "problems", "Settings", "QUESTION", "INSTRUCTIONS", "WORDS", "JUDGEMENTS", "DOUBTS", "demonstrate",
    "parse_trace", "recognise",
)  # fmt: skip


def task_of(module: ModuleType, name: str) -> Task:
    """The task that a module describes, under the name that a config calls it. Raises ValueError for what it lacks."""
    attributes = {name.lower(): vars(module)[name] for name in ATTRIBUTES if name in vars(module)}
    if not is_dataclass(attributes.get("settings", NoSettings)):
        raise ValueError(f"Settings of the task module {name} is not a dataclass; put @dataclass(frozen=True) on it.")
    if "verify" not in attributes:
        raise ValueError(f"The task module {name} has no verify(problem, answer), which it needs: see data/task.py.")
    generate = vars(module).get("generate")
    if (generate is None) == ("problems" not in attributes):
        has = "neither" if generate is None else "both"
        raise ValueError(
            f"The task module {name} has {has} of generate(rng, settings), which draws a problem, and "
            "problems(settings), which gives all there are; a task needs one of them (see data/task.py)."
        )
    draw = None if generate is None else lambda rng, settings, count: [generate(rng, settings) for _ in range(count)]
    return Task(name=name, draw=draw, **attributes)
