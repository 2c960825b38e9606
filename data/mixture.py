"""A weighted mixture of tasks, and the problems of its train, validation and test splits (`data.splits`)."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from data.problem import Problem, Verdict
from data.response import Response, parse_response
from data.settings import number_of, read_settings
from data.splits import SHARES, problems_of, split_of
from data.task import Split, Task
from data.tasks import get_task, load_task, own

AT_ONCE = 16  # more than a process has workers
PATIENCE = 5_000  # draws without a new problem after which a task counts as exhausted
HEAVIEST = 1_000_000  # weight of a task: beyond every float their sum would have no shares
BATCH = 32  # problems drawn at once, at most
BAR_SECONDS = 3  # drawing that takes longer shows how far it is
_READ: dict[tuple[str, str], Mapping[Split, Sequence[Problem]]] = {}  # fixed sets, by task and settings
_DRAWN: dict[tuple[Any, ...], list[Problem]] = {}


@dataclass(frozen=True, slots=True)
class Part:
    """One task of a mixture: its name, its share of the problems, and its difficulty."""

    task: str
    weight: float
    settings: Any


def load_mixture(spec: Mapping[str, Mapping[str, Any] | None]) -> list[Part]:
    """Read `{task: {weight: 1, setting: value, ...}}`. Raises ValueError naming what is unknown or out of range.

    A module of the user's own that it names is imported, and a fixed set is read.
    """
    if not isinstance(spec, Mapping) or not spec:
        raise ValueError(f"tasks is {spec!r}; expected a mapping such as {{countdown: {{numbers: 3}}}}.")
    parts = []
    for name, values in spec.items():
        task = load_task(name)
        if not isinstance(values, Mapping | None):
            raise ValueError(f"tasks.{name} is {values!r}; expected a mapping of its settings, such as {{weight: 1}}.")
        settings = dict(values or {})
        weight = number_of(settings.pop("weight", 1.0))
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= HEAVIEST:
            raise ValueError(f"tasks.{name}.weight is {weight!r}; expected a positive number, at most {HEAVIEST:,}.")
        parts.append(Part(name, float(weight), read_settings(f"tasks.{name}", task.settings, settings)))
        if name in own.LOADED:
            own.try_out(task, parts[-1].settings)
        elif task.problems:
            _all_problems(parts[-1])
    return parts


def draw_problems(
    parts: list[Part], split: Split, count: int, seed: int, *, order: int = 0, at_most: bool = False
) -> list[Problem]:
    """Draw `count` distinct problems of a split, each task's number by its weight, shuffled.

    `seed` fixes which problem belongs to which split, `order` which of a split's problems are drawn and how they are
    shuffled. A task with fewer problems than its share gives all it has, over and over for the train split; for the
    others, which must not count a problem twice, it gives them once where `at_most`, else ValueError says how many.
    """
    problems: list[Problem] = []
    for part, share in zip(parts, apportion(count, [part.weight for part in parts]), strict=True):
        problems += _draw(part, split, share, seed, order, at_most)
    random.Random(f"{order}|{split}|shuffle").shuffle(problems)
    return problems


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """`count` divided by weight into whole shares, by largest remainders (Hamilton's method).

    Each share is its quota rounded down or up; where remainders are equal, the later ones make up for the earlier.
    """
    quotas = [count * weight / sum(weights) for weight in weights]
    shares = [round(quota) for quota in quotas]
    while missing := count - sum(shares):
        step = 1 if missing > 0 else -1
        furthest = max(range(len(shares)), key=lambda at: (step * (quotas[at] - shares[at]), at))
        shares[furthest] += step
    return shares


def held_out(parts: list[Part], split: Split, seed: int, most: int) -> list[Problem]:
    """All problems of a split in the fixed sets, and at most `most` of each procedural task."""
    problems = []
    for part in parts:
        if get_task(part.task).draw:
            problems += _found(part, split, most, seed, 0)
        else:
            problems += [replace(problem, task=part.task) for problem in problems_of(_all_problems(part), split, seed)]
    return problems


def _draw(part: Part, split: Split, count: int, seed: int, order: int, at_most: bool) -> list[Problem]:
    problems = _found(part, split, count, seed, order)
    if len(problems) == count or (problems and at_most and split != "train"):
        return problems
    if split != "train" or not problems:
        raise ValueError(
            f"Task {part.task} has only {len(problems)} distinct {split} problems at these settings, and {count} were "
            "asked for; ask for fewer, or widen the settings."
        )
    return [problems[i % len(problems)] for i in range(count)]


def _found(part: Part, split: Split, count: int, seed: int, order: int) -> list[Problem]:
    """`count` problems of a task, or all there are. Drawn once in a process: some generators take seconds for each."""
    key = (part.task, repr(part.settings), split, count, seed, order)
    if key not in _DRAWN:
        rng = random.Random(f"{seed}|{order}|{split}|{part.task}")
        task = get_task(part.task)
        problems = _distinct(task, part, split, count, seed, rng) if task.draw else _choose(part, split, seed, rng)
        _DRAWN[key] = [replace(problem, task=part.task) for problem in problems[:count]]
    return list(_DRAWN[key])


def _distinct(task: Task, part: Part, split: Split, count: int, seed: int, rng: random.Random) -> list[Problem]:
    """Distinct problems of a procedural task: `count`, or as many as turn up. Long work shows a bar."""
    assert task.draw
    problems: dict[str, Problem] = {}
    misses = 0
    label = f"{split} problems of {part.task}"
    with tqdm(total=count, desc=label, unit="problem", dynamic_ncols=True, delay=BAR_SECONDS) as bar:
        while len(problems) < count and misses < PATIENCE:
            batch = min(BATCH, math.ceil((count - len(problems)) / SHARES[split]))
            candidates = task.draw(rng, part.settings, batch)
            misses += batch - len(candidates)
            for problem in candidates:
                if problem.canonical in problems or split_of(problem.canonical, seed) != split:
                    misses += 1
                else:
                    problems[problem.canonical] = problem
                    misses = 0
            bar.update(len(problems) - bar.n)
    return list(problems.values())


def _choose(part: Part, split: Split, seed: int, rng: random.Random) -> list[Problem]:
    """All problems of a fixed set's split, shuffled."""
    problems = problems_of(_all_problems(part), split, seed)
    rng.shuffle(problems)
    return problems


def _all_problems(part: Part) -> Mapping[Split, Sequence[Problem]]:
    """The problems of a fixed set, which is read once in a process."""
    key = (part.task, repr(part.settings))
    if key not in _READ:
        task = get_task(part.task)
        assert task.problems
        _READ[key] = task.problems(part.settings)
    return _READ[key]


def judge(problem: Problem, completion: str, *, thinking_opened: bool = False) -> tuple[Response, Verdict]:
    """Parse a completion and have its task's verifier judge the answer.

    A verifier that fails says so in `Verdict.error` and never scores.
    """
    response = parse_response(completion, thinking_opened)
    if response.fault:
        return response, Verdict(correct=False, format=False, reason=response.fault)
    try:
        return response, get_task(problem.task).verify(problem, response.answer)
    except Exception as error:  # a verifier that fails must not end a run of hours; it is counted and shown
        return response, Verdict(False, False, "the verifier failed", error=f"{type(error).__name__}: {error}")


def side_by_side(function: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    """`map`, in threads: calls that wait for a process, as some verifiers do, wait at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(function, *arguments))


def demonstrations(parts: list[Part], count: int, seed: int, *, order: int = 0) -> list[tuple[Problem, str]]:
    """`count` train problems, each with a demonstrated completion. Raises ValueError for a task that has none."""
    rng = random.Random(f"{order}|demonstrations")
    settings = {part.task: part.settings for part in parts}
    pairs = []
    for problem in draw_problems(parts, "train", count, seed, order=order):
        task = get_task(problem.task)
        if task.demonstrate is None:
            raise ValueError(f"The task {problem.task} has no demonstrations to learn from.")
        pairs.append((problem, task.demonstrate(problem, rng, settings[problem.task])))
    return pairs
