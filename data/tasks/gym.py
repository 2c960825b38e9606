"""`gym:<name>`: the procedural tasks of reasoning-gym (arXiv 2505.24760), one task each, with its difficulty settings.

Problems are drawn and answers judged in worker processes (`data.tasks.gym_worker`). So a generator or scorer that hangs
is killed, and the draws are the same in every process, although some generators iterate over Python sets, whose order
differs between processes. An answer is right only where its score is 1.0; a partial score is the verdict's `score`.
Some scorers are unsafe with a model's answer and are replaced (`data.tasks.gym_judges`). An answer that scores 1 must
also be in the task's own form (`data.tasks.gym_forms`).
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, field, fields, is_dataclass, make_dataclass
from datetime import date, time
from enum import Enum
from functools import cache, partial
from typing import Any, get_type_hints

from tqdm import tqdm

from data.problem import Problem, Verdict
from data.settings import fits
from data.task import Task
from data.workers.pool import WorkerPool

FAMILY = "gym"
REFUSED = {"composite": "it mixes other tasks; name those, each with a weight of its own"}
NOT_SETTINGS = ("seed", "size")  # chance comes from the run's seeds, and there is no end to the problems
TRIES = 100  # draws without a usable problem, after which the settings count as impossible
DRAWING_SECONDS, SCORING_SECONDS = 60, 5
# A warning where one answer is right for so large a share of so many problems: (problems, share).
CONSTANT_SHARES = ((32, 0.2), (8, 0.5))
WORKER = "data.tasks.gym_worker:act"
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}

drawing = WorkerPool(WORKER, seconds=DRAWING_SECONDS, environment=ENVIRONMENT)
_ANSWERS: dict[tuple[str, str], Counter[str]] = {}  # right answers of each task so far, at each of its settings
_WARNED: set[tuple[str, str]] = set()
scoring = WorkerPool(WORKER, seconds=SCORING_SECONDS, environment=ENVIRONMENT)

# Metadata that tells problems apart where the question does not, because its wording is drawn, too. Lists of
# numbers without an order are sorted.
CONTENT: dict[str, tuple[str, ...]] = {
    "basic_arithmetic": ("expression",),
    "bf": ("bf_program",),
    "countdown": ("numbers", "target"),
    "intermediate_integration": ("integrand",),
    "polynomial_equations": ("polynomial_expr",),
    "polynomial_multiplication": ("polynomial_expr",),
    "puzzle24": ("numbers",),
    "quantum_lock": ("buttons", "initial_state", "initial_value", "target_value"),
    "rubiks_cube": ("cube_size", "scramble_moves"),
    "simple_equations": ("equation",),
    "simple_geometry": ("known_angles",),
    "simple_integration": ("integrand",),
}
UNORDERED = ("numbers", "known_angles")


def names() -> list[str]:
    """The names of all tasks. Raises ValueError where reasoning-gym is not installed."""
    return sorted(datasets().keys() - REFUSED.keys())


def task(label: str) -> Task:
    """The task called `gym:<label>`. Raises ValueError for an unknown label."""
    if label in REFUSED:
        raise ValueError(f"{FAMILY}:{label} is not a task of its own: {REFUSED[label]}.")
    if label not in names():
        near = [name for name in names() if label and (label in name or name in label)]
        raise ValueError(
            f"Unknown task {FAMILY}:{label}; expected one of the {len(names())} of reasoning-gym, such as "
            f"{', '.join(near or ['leg_counting', 'chain_sum', 'basic_arithmetic'])} (all: data/tasks/GYM.md)."
        )
    return Task(
        name=f"{FAMILY}:{label}",
        settings=settings_of(label),
        draw=partial(_draw, label),
        verify=partial(_verify, label),
    )


def first_level(label: str) -> dict[str, Any]:
    """The settings of the first level of the task's own curriculum, as a config gives them.

    None where it has no curriculum, or one that begins out of the task's own range, such as knight_swap's.
    """
    datasets()
    from reasoning_gym.factory import CURRICULA

    if label not in CURRICULA:
        return {}
    config = CURRICULA[label]().generate_configuration()
    kind = settings_of(label)
    try:
        return plain(kind(**{option.name: getattr(config, option.name) for option in fields(kind)}))
    except ValueError:
        return {}


def defaults(label: str) -> dict[str, Any]:
    """Every setting of a task at its default, as a config would give it."""
    settings = settings_of(label)()
    return {option.name: _plain(getattr(settings, option.name)) for option in fields(settings)}


def plain(settings: Any) -> dict[str, Any]:
    """The settings that differ from their defaults, as JSON values that `read_settings` takes back."""
    default = type(settings)()
    values = {option.name: getattr(settings, option.name) for option in fields(settings)}
    return {name: _plain(value) for name, value in values.items() if value != getattr(default, name)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(inner) for key, inner in asdict(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, date | time) else value


def _draw(label: str, rng: random.Random, settings: Any, count: int) -> list[Problem]:
    """Draw `count` problems and return the usable ones (`gym_worker.draw`), at least one.

    Raises ValueError where the generator hangs, or TRIES draws give nothing usable.
    """
    values = plain(settings)
    request = {"do": "draw", "name": label, "settings": values}
    problems: list[Problem] = []
    tries, reason = 0, ""
    while not problems and tries < max(TRIES, count):
        for reply in drawing.ask_all([request | {"seed": rng.getrandbits(31)} for _ in range(count)]):
            if reply.error:
                raise ValueError(f"{FAMILY}:{label} draws no problem at the settings {values}: {reply.error}.")
            if unusable := reply.value.get("unusable"):
                reason = unusable
                continue
            facts = {"entry": reply.value["entry"]} | ({"settings": values} if values else {})
            problems.append(Problem(f"{FAMILY}:{label}", reply.value["question"], reply.value["canonical"], facts))
        tries += count
    if not problems:
        raise ValueError(f"{FAMILY}:{label} draws no usable problem at the settings {values}, in {tries}: {reason}.")
    _notice_constant(label, settings, problems)
    return problems


def _verify(label: str, problem: Problem, answer: str) -> Verdict:
    """Right where the score is 1.0, wrong where the scorer cannot read it, an error where the scorer hangs or dies."""
    reply = scoring.ask(problem.facts | {"do": "score", "name": label, "answer": answer})
    if reply.error:
        return Verdict(correct=False, format=False, reason="the verifier failed", error=reply.error)
    if "unreadable" in reply.value:
        return Verdict(correct=False, format=False, reason=f"cannot be read: {reply.value['unreadable']}", score=0.0)
    if "refused" in reply.value:
        return Verdict(correct=False, format=True, reason=reply.value["refused"], score=0.0)
    score = reply.value["score"]
    if score == 1:
        return Verdict(correct=True, format=True, reason="correct", score=1.0)
    return Verdict(correct=False, format=True, reason=f"scores {score:.2g}", score=score)


def _notice_constant(label: str, settings: Any, problems: list[Problem]) -> None:
    """Warn, once a process and in one line, where one constant answer is right for a large share of the problems."""
    key = (label, repr(settings))
    counts = _ANSWERS.setdefault(key, Counter())
    if key in _WARNED or counts.total() >= CONSTANT_SHARES[0][0]:
        return
    counts.update(problem.facts["entry"]["answer"].strip() for problem in problems if problem.facts["entry"]["answer"])
    total = counts.total()
    least = next((share for enough, share in CONSTANT_SHARES if total >= enough), None)
    if least is None or os.environ.get("RANK", "0") != "0":
        return
    (answer, count), *_ = counts.most_common(1)
    if count >= least * total:
        _WARNED.add(key)
        tqdm.write(
            f"warning: {FAMILY}:{label}: the answer {answer[:40]!r} is right for {count} of {total} problems at these "
            f"settings; a model that always gives it scores {100 * count / total:.0f}%. Leave the task out of `tasks`, "
            f"or set tasks.{FAMILY}:{label} to a level with more possible answers (data/tasks/GYM.md).",
            file=sys.stderr,
        )


@cache
def datasets() -> Mapping[str, tuple[type, type]]:
    """Every task's class and configuration, by name. Raises ValueError where reasoning-gym is not installed."""
    try:
        import reasoning_gym  # noqa: F401 - fills the table
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise ValueError("The gym tasks need reasoning-gym: pip install -e '.[gym]'.") from None
    return DATASETS


@cache
def settings_of(label: str) -> type:
    """The dataclass of a task's settings: its own configuration, checked by it, without the seed and the size."""
    config = datasets()[label][1]
    hints = get_type_hints(config)
    instance = config()
    fields_of_settings = []
    for option in fields(config):
        if option.name not in NOT_SETTINGS:
            default, hint = getattr(instance, option.name), hints[option.name]
            if not fits(default, hint):  # one declares a tuple, and is a text
                hint = type(default)
            fields_of_settings.append((option.name, hint, field(default_factory=partial(deepcopy, default))))
    return make_dataclass(
        "Settings",
        fields_of_settings,
        frozen=True,
        namespace={"__post_init__": lambda settings: _check(label, config, settings)},
    )


def config_of(config: type, settings: Any) -> Any:
    """The task's own configuration, at these settings."""
    return config(**{option.name: getattr(settings, option.name) for option in fields(settings)}, seed=0)


def _check(label: str, config: type, settings: Any) -> None:
    """Raise ValueError with what the task's own check has against the settings."""
    try:
        instance = config_of(config, settings)
        if hasattr(instance, "validate"):
            instance.validate()
    except (AssertionError, ValueError, TypeError) as error:
        raise ValueError(f"tasks.{FAMILY}:{label} is {plain(settings)}, which it refuses: {error}.") from None
