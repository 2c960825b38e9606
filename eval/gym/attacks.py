"""The score of ignorant and of wrong answers in each gym task: the table shows how far a verifier holds.

Five kinds of answers are put to every task. *Restated* ones copy the question: its lines, its blocks, its premises.
*Negated* ones deny the right answer; *padded* ones have more around it; *perturbed* ones change its numbers, its units
or its order. *Constant* ones are the same for every problem: the commonest right answers, `0`, `Yes`, long strings of
moves. A perturbed answer may happen to be right, as where order is free; a constant one where few answers are possible.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from data.problem import Problem
from data.settings import read_settings
from data.task import Task
from data.tasks import gym
from data.tasks.gym_logic import right_conclusion
from eval.gym.kept_rows import rows_of_tasks
from eval.gym.wrong_answers import CONSTANTS, HOSTILE, KINDS, blind_moves, of_kind


@dataclass(frozen=True, slots=True)
class Settings:
    """How many problems of each task are asked; fewer where a problem takes long to draw."""

    problems: int = 16
    of_slow: int = 4
    seed: int = 0


class AttackRow(TypedDict):
    """How many problems of one task some answer of each kind got right; None where the right answer is not known."""

    task: str
    problems: int
    distinct: int  # right answers
    restated: int | None
    negated: int | None
    padded: int | None
    perturbed: int | None
    examples: dict[str, list[str]]  # of each kind, answers that passed as right, 3 at most
    errors: int  # hostile answers for which the verifier had to be killed
    constant: str  # the best single answer to all problems
    constant_wins: int


SLOW = ("futoshiki", "knight_swap", "sokoban")


def attack_tasks(
    names: list[str], settings: Settings, path: Path, progress: Callable[[str], None] = lambda name: None
) -> list[AttackRow]:
    """A row for each task, kept in `path`. Raises ValueError where that file holds rows of other settings."""
    return rows_of_tasks(
        path, {"settings": asdict(settings)}, names, lambda name: attack_task(name, settings), progress
    )


def attack_task(name: str, settings: Settings) -> AttackRow:
    """Ask one task; the counts are of problems for which some answer of a kind was right."""
    task = gym.task(name)
    problems = drawn(task, settings.of_slow if name in SLOW else settings.problems, settings.seed)
    golds = [right_answer(problem) for problem in problems]
    common = Counter(gold for gold in golds if gold)
    row: AttackRow = {
        "task": name,
        "problems": len(problems),
        "distinct": len(common),
        "examples": {},
        "errors": 0,
        "restated": None,
        "negated": None,
        "padded": None,
        "perturbed": None,
        "constant": "",
        "constant_wins": 0,
    }
    for kind in KINDS:
        answers = [
            list(dict.fromkeys(of_kind(kind, problem, gold))) for problem, gold in zip(problems, golds, strict=True)
        ]
        wins = [right_among(problem, attempts) for problem, attempts in zip(problems, answers, strict=True)]
        row[kind] = sum(map(bool, wins)) if any(answers) else None
        row["examples"][kind] = [winners[0][:200] for winners in wins if winners][:3]
    constants = dict.fromkeys(
        (*(answer for answer, _ in common.most_common(8)), *CONSTANTS, *blind_moves(settings.seed))
    )
    counts = {answer: sum(bool(right_among(problem, [answer])) for problem in problems) for answer in constants}
    row["constant"], row["constant_wins"] = max(counts.items(), key=lambda item: item[1])
    for answer in HOSTILE:
        row["errors"] += task.verify(problems[0], answer).error is not None
    return row


def drawn(task: Task, count: int, seed: int) -> list[Problem]:
    """Problems at the first level of the task's curriculum; at its defaults where it has none, or too few problems."""
    label = task.name.removeprefix(f"{gym.FAMILY}:")
    assert task.draw
    rng = random.Random(f"{seed}|{task.name}")
    problems: dict[str, Problem] = {}
    for level in (gym.first_level(label), gym.first_level(label), {}):
        settings = read_settings(f"tasks.{task.name}", task.settings, level)
        with suppress(ValueError):  # sokoban's generator hangs on some seeds of its first level
            problems |= {problem.canonical: problem for problem in task.draw(rng, settings, count - len(problems))}
        if len(problems) >= count:
            break
    return list(problems.values())


def right_answer(problem: Problem) -> str | None:
    """The stated right answer, or one of our own; None where that takes a search."""
    entry = problem.facts["entry"]
    if entry["answer"] is not None:
        return entry["answer"].strip()
    facts = entry["metadata"]
    match problem.task.removeprefix(f"{gym.FAMILY}:"):
        case "rubiks_cube":
            undone = [f"{move}'" if not move.endswith("'") else move[:-1] for move in facts["scramble_moves"].split()]
            return " ".join(reversed(undone))
        case "propositional_logic":
            return right_conclusion(entry)
        case "graph_color":
            return json.dumps(_colors(facts["puzzle"]))
    return None


def _colors(puzzle: dict[str, Any]) -> dict[str, int]:
    """A coloring, each vertex in turn with the first color that it may have."""
    colors: dict[int, int] = {}
    for vertex in puzzle["vertices"]:
        near = {colors.get(other) for edge in puzzle["edges"] if vertex in edge for other in edge if other != vertex}
        colors[vertex] = next(color for color in puzzle["color_options"] if color not in near)
    return {str(vertex): color for vertex, color in colors.items()}


def right_among(problem: Problem, answers: list[str]) -> list[str]:
    """The answers that the task's verifier accepts."""
    name = problem.task.removeprefix(f"{gym.FAMILY}:")
    requests = [problem.facts | {"do": "score", "name": name, "answer": answer} for answer in answers]
    replies = gym.scoring.ask_all(requests)
    return [answer for answer, reply in zip(answers, replies, strict=True) if (reply.value or {}).get("score") == 1]
