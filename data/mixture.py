"""A weighted mixture of tasks, and the problems of its train, validation and test splits.

A problem's split follows from a hash of its canonical content and the data seed alone. So the splits are disjoint
whatever is drawn, in whatever order, on whatever machine, and stay so as the difficulty settings change.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from data.problem import Problem, Verdict
from data.response import Response, parse_response
from data.tasks import get_task

Split = Literal["train", "validation", "test"]
SHARES: dict[Split, float] = {"train": 0.80, "validation": 0.05, "test": 0.15}
PATIENCE = 5_000  # draws without a new problem after which a task counts as exhausted


@dataclass(frozen=True, slots=True)
class Part:
    """One task of a mixture: its name, its share of the problems, and its difficulty."""

    task: str
    weight: float
    settings: Any


def load_mixture(spec: Mapping[str, Mapping[str, Any] | None]) -> list[Part]:
    """Read `{task: {weight: 1, setting: value, ...}}`. Raises ValueError naming what is unknown or out of range."""
    if not isinstance(spec, Mapping) or not spec:
        raise ValueError(f"tasks is {spec!r}; expected a mapping such as {{countdown: {{numbers: 3}}}}.")
    parts = []
    for name, given in spec.items():
        task = get_task(name)
        settings = dict(given or {})
        weight = settings.pop("weight", 1.0)
        if not isinstance(weight, int | float) or weight <= 0:
            raise ValueError(f"tasks.{name}.weight is {weight!r}; expected a positive number.")
        whole = {field.name: field.type is int for field in fields(task.Settings)}
        for key, value in settings.items():
            if key not in whole:
                raise ValueError(f"Unknown setting tasks.{name}.{key}; expected one of: weight, {', '.join(whole)}.")
            if isinstance(value, bool) or not isinstance(value, int if whole[key] else int | float):
                expected = "a whole number" if whole[key] else "a number"
                raise ValueError(f"tasks.{name}.{key} is {value!r}; expected {expected}.")
        parts.append(Part(name, float(weight), task.Settings(**settings)))
    return parts


def split_of(canonical: str, seed: int) -> Split:
    """The split that a problem belongs to, for good."""
    digest = hashlib.blake2b(f"{seed}|{canonical}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def draw_problems(
    parts: list[Part], split: Split, count: int, seed: int, *, order: int = 0, at_most: bool = False
) -> list[Problem]:
    """Draw `count` distinct problems of a split, each task's number by its weight, shuffled.

    `seed` fixes which problem belongs to which split, `order` which of a split's problems are drawn and how they are
    shuffled. A task with fewer problems than its share gives all it has, over and over for the train split; for the
    others, which must not count a problem twice, it gives them once where `at_most`, else ValueError says how many.
    """
    total_weight = sum(part.weight for part in parts)
    drawn: list[Problem] = []
    shared = 0
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        share = count - shared if last else round(count * part.weight / total_weight)
        shared += share
        drawn += _draw(part, split, share, seed, order, at_most)
    random.Random(f"{order}|{split}|shuffle").shuffle(drawn)
    return drawn


def _draw(part: Part, split: Split, count: int, seed: int, order: int, at_most: bool) -> list[Problem]:
    task = get_task(part.task)
    rng = random.Random(f"{seed}|{order}|{split}|{part.task}")
    found: dict[str, Problem] = {}
    misses = 0
    while len(found) < count and misses < PATIENCE:
        problem = task.generate(rng, part.settings)
        if problem.canonical in found or split_of(problem.canonical, seed) != split:
            misses += 1
        else:
            found[problem.canonical] = problem
            misses = 0
    problems = list(found.values())
    if len(problems) == count or (problems and at_most and split != "train"):
        return problems
    if split != "train" or not problems:
        raise ValueError(
            f"Task {part.task} has only {len(problems)} distinct {split} problems at these settings, and {count} were "
            "asked for; ask for fewer, or widen the settings."
        )
    return [problems[i % len(problems)] for i in range(count)]


def judge(problem: Problem, completion: str, *, thinking_opened: bool = False) -> tuple[Response, Verdict]:
    """Parse a completion and have its task's verifier judge the answer.

    A verifier that fails says so in `Verdict.error` and never scores.
    """
    response = parse_response(completion, thinking_opened)
    if response.fault:
        return response, Verdict(correct=False, format=False, reason=response.fault)
    try:
        return response, get_task(problem.task).verify(problem, response.answer)
    except Exception as error:  # whatever a verifier dies of must not end a run of hours; it is counted and shown
        return response, Verdict(False, False, "the verifier failed", error=f"{type(error).__name__}: {error}")


def demonstrations(parts: list[Part], count: int, seed: int, *, order: int = 0) -> list[tuple[Problem, str]]:
    """`count` train problems, each with a demonstrated completion."""
    rng = random.Random(f"{order}|demonstrations")
    settings = {part.task: part.settings for part in parts}
    return [
        (problem, get_task(problem.task).demonstrate(problem, rng, settings[problem.task]))
        for problem in draw_problems(parts, "train", count, seed, order=order)
    ]
