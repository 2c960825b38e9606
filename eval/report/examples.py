"""Which rollouts the report shows: the first of each kind, in file order, so that nobody hand-picked them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from eval.report.load import Run, ShownRow, load_rollouts
from eval.table import short_names
from train.page.marks import Reading, read, right_attempt

ROLLOUTS = 20
T = TypeVar("T")


# Which attempt was the first right one: 1 or more, 0 where none holds up, None where the task has no attempts to judge.
Attempt = int | None
PAIRED: dict[str, Callable[[bool, bool, Attempt], bool]] = {
    "Wrong before, corrected itself after": lambda b, a, attempt: not b and a and (attempt or 0) > 1,
    "Wrong before, right at the first attempt after": lambda b, a, attempt: not b and a and attempt == 1,
    "Wrong before, right after": lambda b, a, attempt: not b and a and attempt is None,
    "Right before and after": lambda b, a, _: b and a,
    "Wrong before and after": lambda b, a, _: not b and not a,
    "Right before, wrong after": lambda b, a, _: b and not a,
    "Wrong before, right after by luck: no attempt holds up": lambda b, a, attempt: not b and a and attempt == 0,
}
SINGLE: dict[str, Callable[[bool, Attempt], bool]] = {
    "Corrected itself": lambda correct, attempt: correct and (attempt or 0) > 1,
    "Right at the first attempt": lambda correct, attempt: correct and attempt == 1,
    "Right": lambda correct, attempt: correct and attempt is None,
    "Wrong": lambda correct, _: not correct,
    "Right by luck: no attempt holds up": lambda correct, attempt: correct and attempt == 0,
}


@dataclass(frozen=True, slots=True)
class Side:
    """One rollout of an example: which model wrote it, the row, and the row laid out."""

    label: str
    row: ShownRow
    reading: Reading


@dataclass(frozen=True, slots=True)
class Example:
    """One problem and its rollouts, side by side. `share` says how common the kind is among all that were compared."""

    kind: str
    share: str
    task: str
    prompt: str
    sides: list[Side]


def choose(run: Run) -> list[Example]:
    """Up to twenty rollouts: each problem before and after if the run was evaluated, else its first and last step."""
    samples = [[row for row in rows if not row["greedy"]] for rows in run.samples]
    if run.results is not None and len(samples) > 1 and samples[0] and samples[-1]:
        names = short_names([row["checkpoint"] for row in run.results["checkpoints"]])
        return _pairs(samples[0], samples[-1], names[0], names[-1])
    if run.results is not None and samples and samples[0]:
        return _singles(samples[0], short_names([run.results["checkpoints"][0]["checkpoint"]])[0], ROLLOUTS)
    steps = sorted({row["step"] for row in run.rl})
    ends = list(dict.fromkeys(steps[:1] + steps[-1:]))
    examples: list[Example] = []
    for step in ends:
        examples += _singles(load_rollouts(run, step), f"RL step {step}", ROLLOUTS // len(ends))
    return examples


def _pairs(before: list[ShownRow], after: list[ShownRow], first: str, last: str) -> list[Example]:
    other = {(row["problem"], row["sample"]): row for row in after}
    both = [(row, other[key]) for row in before if (key := (row["problem"], row["sample"])) in other]
    facts = [(b["correct"], a["correct"], _attempt(a)) for b, a in both]
    kinds = {
        kind: [pair for pair, fact in zip(both, facts, strict=True) if belongs(*fact)]
        for kind, belongs in PAIRED.items()
    }
    return [
        Example(
            kind,
            _share(len(kinds[kind]), len(both), "pairs"),
            b["task"],
            b["prompt"],
            [Side(first, b, read(b)), Side(last, a, read(a))],
        )
        for kind, (b, a) in _round_robin(kinds, lambda pair: pair[0], ROLLOUTS // 2)
    ]


def _singles(rows: list[ShownRow], label: str, count: int) -> list[Example]:
    facts = [(row["correct"], _attempt(row)) for row in rows]
    kinds = {
        kind: [row for row, fact in zip(rows, facts, strict=True) if belongs(*fact)] for kind, belongs in SINGLE.items()
    }
    return [
        Example(
            kind,
            _share(len(kinds[kind]), len(rows), "rollouts"),
            row["task"],
            row["prompt"],
            [Side(label, row, read(row))],
        )
        for kind, row in _round_robin(kinds, lambda row: row, count)
    ]


def _attempt(row: ShownRow) -> Attempt:
    """The first right attempt of a right answer; reading a thinking takes time, and no wrong answer is asked for it."""
    return right_attempt(row) if row["correct"] else None


def _round_robin(kinds: dict[str, list[T]], row_of: Callable[[T], ShownRow], count: int) -> Iterable[tuple[str, T]]:
    """Examples of each kind and task in turn, every problem once, up to `count`; then sorted by kind."""
    tasks = sorted({row_of(item)["task"] for items in kinds.values() for item in items})
    queues = {
        (kind, task): [i for i in items if row_of(i)["task"] == task] for kind, items in kinds.items() for task in tasks
    }
    picks: list[tuple[str, T]] = []
    problems: set[str] = set()
    while any(queues.values()) and len(picks) < count:
        for (kind, _), queue in queues.items():
            fresh = next((item for item in queue if row_of(item)["problem"] not in problems), None)
            if fresh is None:
                queue.clear()
            elif len(picks) < count:
                problems.add(row_of(fresh)["problem"])
                picks.append((kind, fresh))
    order = list(kinds)
    return sorted(picks, key=lambda pick: order.index(pick[0]))


def _share(count: int, total: int, what: str) -> str:
    return f"{count:,} of {total:,} {what}"
