"""How many sokoban puzzles one string of random moves solves: by reasoning-gym's scorer, which passes over a move that
a wall stops, and by ours (`data.tasks.gym_moves.push_moves`), which refuses it.
"""

import json
import random
from dataclasses import dataclass
from typing import Any

from data.tasks import gym
from data.tasks.gym_worker import score, scorers_own
from data.workers.pool import WorkerPool

TASK = "sokoban"
SEEDS = 40  # tried; the generator hangs on more than half of the seeds of the first level
SECONDS = 6  # of processor time for one puzzle; where it does not hang it takes less than one
LENGTHS = (20, 50, 100, 200)
STRINGS = 40  # of each length


@dataclass(frozen=True, slots=True)
class Walks:
    """What strings of one length solve, of `puzzles` puzzles: the mean string and the best one."""

    length: int
    puzzles: int
    theirs_mean: float
    theirs_best: int
    ours_best: int


def blind_walks(seed: int) -> list[Walks]:
    """Try random strings of each length on puzzles of the task's first level. Takes some two minutes."""
    level = gym.first_level(TASK)
    settings, entries = json.dumps(level, sort_keys=True), puzzles(level, seed)
    rng = random.Random(f"{seed}|walks")
    walks = []
    for length in LENGTHS:
        strings = ["".join(rng.choices("LRUD", k=length)) for _ in range(STRINGS)]
        theirs = [sum(scorers_own(TASK, settings, entry, moves) == 1 for entry in entries) for moves in strings]
        ours = [sum(score(TASK, settings, entry, moves).get("score") == 1 for entry in entries) for moves in strings]
        walks.append(Walks(length, len(entries), sum(theirs) / len(theirs), max(theirs), max(ours)))
    return walks


def puzzles(level: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """The puzzles of the seeds; those that hang the generator are left out."""
    rng = random.Random(f"{seed}|{TASK}")
    request = {"do": "draw", "name": TASK, "settings": level}
    pool = WorkerPool(gym.WORKER, seconds=SECONDS, environment=gym.ENVIRONMENT)
    replies = pool.ask_all([request | {"seed": rng.getrandbits(31)} for _ in range(SEEDS)])
    return [reply.value["entry"] for reply in replies if not reply.error and "entry" in reply.value]


def note(walks: list[Walks]) -> str:
    """The measurement in a paragraph of Markdown."""
    counts = "; ".join(
        f"{walk.length} letters: {walk.theirs_mean:.1f} and {walk.theirs_best} by its scorer, {walk.ours_best} by ours"
        for walk in walks
    )
    return (
        f"Moves that a wall stops are no moves here. Of {walks[0].puzzles} puzzles of sokoban's first level "
        f"(the seeds of {SEEDS} on which its generator does not hang), {STRINGS} random strings of each length solve, "
        f"on average and the best of them: {counts}.\n"
    )
