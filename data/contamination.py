"""Do the problems that a run trains on give away those that it is evaluated on?

A held-out problem *overlaps* with training where

- a training problem has the same canonical content, or the same text but for capitals and blanks; or
- at least half of its tokens are in 8-grams that training problems have too. That is the measure of the Llama 3
  report (Dubey et al. 2024, arXiv 2407.21783, section 5.1.4), with the half of Tülu 3 (Lambert et al. 2024, arXiv
  2411.15124, section 3.2); GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C) took 13-grams. A token is a word, a
  number or a sign.

Two rules avoid false alarms over generated problems, which share their wording. An 8-gram that ten different
problems have is wording, not content: it is left out of both counts. And two problems of one procedural task are
compared by content and text alone: `12 + 7 - 3` is no copy of `12 + 7 - 4`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.problem import Problem

N = 8
SHARE = 0.5
COMMON = 10  # different problems with an n-gram after which it counts as wording
TOKEN = re.compile(r"\w+|[^\w\s]")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed: hashes of n-grams wrap around 64 bits


@dataclass(frozen=True, slots=True)
class Overlap:
    """A held-out problem, the training problem that gives away most of it, and how much: 1 is all."""

    share: float
    held_out: Problem
    trained: Problem

    def as_json(self) -> dict[str, Any]:
        """The pair as plain values for a page."""
        sides = {"held_out": self.held_out, "trained": self.trained}
        return {"share": self.share} | {name: {"task": p.task, "prompt": p.prompt} for name, p in sides.items()}


def overlaps(trained: Sequence[Problem], held_out: Sequence[Problem], procedural: Collection[str]) -> list[Overlap]:
    """The held-out problems that overlap with training, worst first. `procedural` names the tasks that generate."""
    same = {problem.canonical: problem for problem in trained} | {text_of(problem): problem for problem in trained}
    matches = []
    rest = []
    for problem in held_out:
        copy = same.get(problem.canonical) or same.get(text_of(problem))
        if copy:
            matches.append(Overlap(1.0, problem, copy))
        else:
            rest.append(problem)
    distinct = list({text_of(problem): problem for problem in trained}.values())
    return sorted(matches + _by_grams(distinct, rest, procedural), key=lambda overlap: -overlap.share)


def text_of(problem: Problem) -> str:
    """A prompt without capitals, odd forms of letters, and differences in blanks."""
    return " ".join(TOKEN.findall(unicodedata.normalize("NFKC", problem.prompt).lower()))


def _by_grams(trained: Sequence[Problem], held_out: Sequence[Problem], procedural: Collection[str]) -> list[Overlap]:
    """Overlaps by n-grams. Everything is done at once, on arrays of all problems' tokens and n-grams."""
    problems = [*trained, *held_out]
    words: dict[str, int] = {}
    ids = [[words.setdefault(word, len(words)) for word in text_of(problem).split()] for problem in problems]
    tasks = {name: number for number, name in enumerate(dict.fromkeys(problem.task for problem in problems))}
    task = np.array([tasks[problem.task] for problem in problems], dtype=np.int64)  # (problems,)
    generates = np.array([name in procedural for name in tasks], dtype=bool)  # (tasks,)
    tokens = np.array([word for text in ids for word in text], dtype=np.uint64)  # (tokens,)
    owner = np.repeat(np.arange(len(problems)), [len(text) for text in ids])  # (tokens,)
    if len(tokens) < N:
        return []
    starts = np.flatnonzero(owner[: len(tokens) - N + 1] == owner[N - 1 :])  # (grams,) where each n-gram begins
    with np.errstate(over="ignore"):
        hashes = np.zeros(len(starts), dtype=np.uint64)
        for place in range(N):
            hashes = hashes * MULTIPLIER + tokens[starts + place] + np.uint64(1)
    of = owner[starts]  # (grams,) the problem of each
    kinds, kind = np.unique(hashes, return_inverse=True)  # different n-grams; which of them each is
    once = np.unique(np.stack([kind, of]), axis=1)[0]  # the kinds of each problem, each once
    content = np.bincount(once, minlength=len(kinds)) < COMMON  # (kinds,)
    in_training = of < len(trained)
    first, last = np.full(len(kinds), len(tasks)), np.full(len(kinds), -1)  # training tasks that have it
    np.minimum.at(first, kind[in_training], task[of[in_training]])
    np.maximum.at(last, kind[in_training], task[of[in_training]])
    own_alone = generates[task[of]] & (first[kind] == task[of]) & (last[kind] == task[of])
    shared = content[kind] & (last[kind] >= 0) & ~own_alone & ~in_training  # (grams,)
    counted = content[kind] & ~in_training
    covered, whole = (np.bincount(owner[_covered(starts[grams], len(tokens))], minlength=len(problems))
                      for grams in (shared, counted))  # fmt: skip
    matches = []
    for number in np.flatnonzero((covered > 0) & (covered >= SHARE * whole)).tolist():
        giving = np.isin(kind, kind[shared & (of == number)]) & in_training
        if generates[task[number]]:
            giving &= task[of] != task[number]
        nearest = Counter(of[giving].tolist()).most_common(1)[0][0]
        matches.append(Overlap(float(covered[number] / whole[number]), problems[number], problems[nearest]))
    return matches


def _covered(starts: np.ndarray, length: int) -> np.ndarray:
    """Whether each of `length` tokens is in one of the n-grams that begin at `starts`."""
    steps = np.zeros(length + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + N, -1)
    return np.cumsum(steps)[:length] > 0
