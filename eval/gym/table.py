"""Which of reasoning-gym's tasks a model can start on: how often it is right before any training, task by task.

RL learns from groups of samples that are partly right and partly wrong; a group that is all wrong or all
right teaches nothing. So a task is worth starting on where a good share of its groups is mixed.

The model is asked for the answer alone: its turn is opened with "The answer is", and what follows is judged as a whole,
by its first line, and by what stands before its first stop. That is what a model knows at once. Training asks for
another form; a small model that has never seen `<think>` does not write it, and scores nothing until a cold start has
taught it.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.mixture import draw_problems, load_mixture
from data.problem import Problem
from data.tasks import gym
from eval.gym.kept_rows import rows_of_tasks
from eval.measures.estimators import wilson
from eval.sampling.baselines import DIRECT, first_line
from eval.sampling.subject import is_right
from eval.settings import GymSettings
from train.model.prompts import completion_text, messages, prompt_ids
from train.rollout.interface import RolloutBackend, Sampling

Row = dict[str, Any]


def measure_tasks(
    names: list[str],
    backend: RolloutBackend,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: tuple[int, ...],
    settings: GymSettings,
    path: Path,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """A row for each task, kept in `path`. Raises ValueError where that file holds rows of other settings."""

    def measure(name: str) -> Row:
        return measure_task(name, backend, tokenizer, stop_ids, settings)

    return rows_of_tasks(path, {"asked": asdict(settings)}, names, measure, progress)


def measure_task(
    name: str,
    backend: RolloutBackend,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: tuple[int, ...],
    settings: GymSettings,
) -> Row:
    """Sample one task. `left_out` says why it was not, where it was not."""
    level, problems = easiest_problems(name, settings)
    lead = tokenizer.encode(DIRECT, add_special_tokens=False)
    prompts = [prompt_ids(tokenizer, messages(problem)) + lead for problem in problems]
    longest = max(map(len, prompts))
    golds = [tokenizer.encode(gold, add_special_tokens=False) for problem in problems if (gold := stated(problem))]
    room = max(map(len, golds), default=settings.answer_tokens - 8) + 8  # room for a few words around it
    row = {"task": name, "settings": level, "prompt_tokens": sum(map(len, prompts)) / len(prompts)}
    if longest > settings.prompt_tokens:
        return row | {"left_out": f"prompts of {longest} tokens"}
    if room > settings.answer_tokens + 8:
        return row | {"left_out": f"answers of {room - 8} tokens"}
    begin = time.monotonic()
    rollouts = backend.generate(
        prompts, settings.samples, Sampling(room, stop_ids, temperature=1.0, seed=settings.seed)
    )
    seconds = time.monotonic() - begin
    texts = [completion_text(tokenizer, rollout.token_ids) for rollout in rollouts]
    copies = [problem for problem in problems for _ in range(settings.samples)]
    right = [answers(problem, text) for problem, text in zip(copies, texts, strict=True)]
    groups = [sum(right[start : start + settings.samples]) for start in range(0, len(right), settings.samples)]
    return row | {
        "right": sum(right),
        "of": len(right),
        "mixed": sum(0 < count < settings.samples for count in groups),
        "groups": len(groups),
        "answer_tokens": sum(len(rollout.token_ids) for rollout in rollouts) / len(rollouts),
        "seconds": seconds,
    }


def easiest_problems(name: str, settings: GymSettings) -> tuple[Row, list[Problem]]:
    """Train problems at the first level of the task's curriculum, or at its defaults where these are shorter."""
    choices = []
    for level in (gym.first_level(name), {}):
        parts = load_mixture({f"{gym.FAMILY}:{name}": level})
        problems = draw_problems(parts, "train", settings.problems, settings.seed)
        choices.append((sum(len(problem.prompt) for problem in problems), level, problems))
    _, level, problems = min(choices, key=lambda choice: choice[0])
    return level, problems


def stated(problem: Problem) -> str:
    """The right answer, or "" where the task states none."""
    return problem.facts["entry"]["answer"] or ""


def answers(problem: Problem, text: str) -> bool:
    """Whether a text says the right answer: as a whole, in its first line, or before its first stop, quotes apart."""
    line = first_line(text)
    clause = re.split(r"[.,;](?:\s|$)", line)[0].strip(" \"'*")
    candidates = dict.fromkeys((text.strip(), line, clause, clause.capitalize()))
    return any(is_right(problem, answer) for answer in candidates if answer)


def render(rows: list[Row], model: str, settings: GymSettings, command: str) -> str:
    """The table as a page of Markdown, best tasks first."""
    tasks = sorted((row for row in rows if "of" in row), key=lambda row: (-row["mixed"] / row["groups"], -row["right"]))
    return "\n".join([*_head(model, settings, command, tasks), *map(_line, tasks), *_tail(rows)]) + "\n"


def _head(model: str, settings: GymSettings, command: str, tasks: list[Row]) -> Iterator[str]:
    start = sum(row["mixed"] > 0 for row in tasks)
    tokens = sum(row["answer_tokens"] * row["of"] for row in tasks)
    yield f"# The tasks of reasoning-gym, and what {model} makes of them untrained\n"
    yield (
        f"Made by `{command}`; not edited by hand. {len(tasks)} tasks were sampled: {settings.problems} problems each, "
        f"{settings.samples} samples of each at temperature 1, {tokens:,.0f} tokens in all. The model is asked for the "
        "answer alone (`eval/gym/table.py` says how), at the first level of the task's own curriculum, or at its "
        "defaults where these give shorter problems.\n"
    )
    yield (
        "*Solved* has a 95% Wilson interval; that takes the samples of one problem for independent, so it is on the "
        f"narrow side. *Mixed* is the share of problems with both right and wrong samples among their "
        f"{settings.samples}: the groups from which RL learns. {start} of the {len(tasks)} tasks have any.\n"
    )
    yield "| task | settings | solved, % | mixed, % | answer tokens | seconds |"
    yield "|---|---|---|---|---|---|"


def _line(row: Row) -> str:
    rate = wilson(row["right"], row["of"])
    settings = _listed(row["settings"]) or "defaults"
    return (
        f"| gym:{row['task']} | {settings} | {100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}] "
        f"| {100 * row['mixed'] / row['groups']:.0f} | {row['answer_tokens']:.0f} | {row['seconds']:.0f} |"
    )


def _tail(rows: list[Row]) -> Iterator[str]:
    left_out = [f"gym:{row['task']} ({row['left_out']})" for row in rows if "left_out" in row]
    if left_out:
        yield f"\nNot sampled, being out of reach: {', '.join(left_out)}."
    for name, why in gym.REFUSED.items():
        yield f"\n`gym:{name}` is refused: {why}."
    yield "\n## Settings and their defaults\n"
    for name in gym.names():
        yield f"- gym:{name}: {_listed(gym.defaults(name))}"


def _listed(settings: Row) -> str:
    short = json.loads(json.dumps(settings), parse_float=lambda text: round(float(text), 4))
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in short.items())
