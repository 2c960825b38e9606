"""Traces labelled by hand, and how precisely the detectors find what the labels say.

`behaviour.jsonl` holds thinkings of the structured tasks with a mark at each place where something happens: {.} a
valid step, {s} a slip, {u} an operand that was not at hand, {A} or {a} the acceptance of something right or wrong, {R}
or {r} the rejection of something wrong or right, {B} going back, {G} or {g} a subgoal met or missed, and after a
rejected attempt {N} a new approach, {V} a variation, {X} a repeat. The mark of a step or verdict stands behind it, the
others before what they mark. Most are samples of four quickstart runs before and after RL, the rest are
written to be awkward. A reader labelled the text as it is; where the parser sees it differently, the label stays.

`lexical.jsonl` (some of it SmolLM2-135M-Instruct's) and `monitor.jsonl` (planted cases) hold free-form thinkings and
whole completions with every label that applies. Detectors were adjusted on the even lines, counted from 0; the odd
lines are what is scored, after the detectors stood (one rule, on scripts, was mended after that, and ten fresh cases
were added). One hand wrote cases and detectors, so the figures are kinder than strangers' traces would be.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.expression import parse_expression
from data.problem import Problem
from data.tasks import get_task
from eval.measures.behaviour import events
from eval.measures.lexical import PHRASES, signs
from eval.probes.monitor import FLAGS, flags

Labels = set[tuple[str, int]]  # each the label and its place; 0 where a label is of the whole
FOLDER = Path(__file__).parent
MARKS = {
    ".": "valid step",
    "s": "slip",
    "u": "ungrounded step",
    "A": "accepts right",
    "a": "accepts wrong",
    "r": "rejects right",
    "R": "rejects wrong",
    "B": "backtracks",
    "G": "meets subgoal",
    "g": "misses subgoal",
    "N": "new approach",
    "V": "variation",
    "X": "repeat",
}


@dataclass(frozen=True, slots=True)
class Score:
    """How well a detector finds one label: `right` found and labelled, `extra` found only, `missed` labelled only."""

    right: int
    extra: int
    missed: int

    @property
    def precision(self) -> float:
        """The share of what is found that is labelled; 1 where nothing is found."""
        return self.right / (self.right + self.extra) if self.right + self.extra else 1.0

    @property
    def recall(self) -> float:
        """The share of what is labelled that is found; 1 where nothing is labelled."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def score_behaviour() -> dict[str, Score]:
    """The behaviour parser, event by event and place by place, and `all` events together."""
    cases = list[tuple[Labels, Labels]]()
    for case in _read("behaviour"):
        problem = problem_of(case["prompt"])
        thinking, labels = unmark(case["thinking"])
        detections = events(get_task(problem.task).trace(problem, thinking))
        cases.append(({(event.kind, _place(thinking, event.at)) for event in detections}, labels))
    scores = {kind: _score(cases, kind) for kind in MARKS.values()}
    return {**scores, "all": _total(scores)}


def score_lexical() -> dict[str, Score]:
    """The lexical detector: does it see each behaviour in the held-out thinkings that show it?"""
    cases: list[tuple[Labels, Labels]] = [
        ({(name, 0) for name, spans in signs(case["thinking"]).items() if spans}, {(name, 0) for name in case["shows"]})
        for case in _read("lexical")[1::2]
    ]
    scores: dict[str, Score] = {name: _score(cases, name) for name in PHRASES}
    return {**scores, "all": _total(scores)}


def score_monitor() -> dict[str, Score]:
    """The monitor: does it raise each flag on the held-out planted cases that deserve it?"""
    cases: list[tuple[Labels, Labels]] = [
        (
            {(name, 0) for name in flags(problem_of(case["prompt"]), case["completion"])},
            {(name, 0) for name in case["flags"]},
        )
        for case in _read("monitor")[1::2]
    ]
    scores: dict[str, Score] = {name: _score(cases, name) for name in FLAGS}
    return {**scores, "all": _total(scores)}


def problem_of(prompt: str) -> Problem:
    """The problem that a structured prompt asks: `numbers 2 6 6 target 14` or `compute 36 * 4`."""
    if prompt.startswith("numbers "):
        *numbers, target = map(int, re.findall(r"\d+", prompt))
        return Problem("countdown", prompt, prompt, {"numbers": numbers, "target": target})
    expression = prompt.removeprefix("compute ")
    facts = {"expression": expression, "target": int(parse_expression(expression).value)}
    return Problem("arithmetic", prompt, prompt, facts)


def unmark(text: str) -> tuple[str, Labels]:
    """A thinking without its marks, and what they say."""
    thinking, labels = "", Labels()
    for part in re.split(r"(\{[^}]*\})", text):
        if part.startswith("{"):
            labels |= {(MARKS[mark], _place(thinking, len(thinking))) for mark in part[1:-1]}
        else:
            thinking += part
    return thinking, labels


def _place(thinking: str, at: int) -> int:
    """Characters before `at`, blanks left out: it makes no difference on which side of a blank a mark is."""
    return len("".join(thinking[:at].split()))


def _read(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _score(cases: Iterable[tuple[Labels, Labels]], kind: str) -> Score:
    counts: Counter[str] = Counter()
    for detections, labels in cases:
        counts["right"] += sum(label[0] == kind for label in detections & labels)
        counts["extra"] += sum(label[0] == kind for label in detections - labels)
        counts["missed"] += sum(label[0] == kind for label in labels - detections)
    return Score(counts["right"], counts["extra"], counts["missed"])


def _total(scores: Mapping[str, Score]) -> Score:
    return Score(
        sum(score.right for score in scores.values()),
        sum(score.extra for score in scores.values()),
        sum(score.missed for score in scores.values()),
    )
