"""The behaviours in a thinking, read from its steps and attempts and checked by exact arithmetic; no model judges.

The four behaviours are those of Gandhi et al. 2025 (arXiv 2503.01307) as far as a search or a calculation has them:

- verification: a verdict of its own on a step or an attempt, `yes` or `no`; right where the step or attempt is;
- backtracking: going back to an earlier state; `or` keeps all steps but the last, `wait` and a redo take one back;
- subgoals: a part headed `for 48 - 16 :`, met where its exact value is stated before the next part begins;
- new approach: after an attempt that it rejected, one that begins with another step. The other ways to go on are a
  variation (the same first step), a repeat (an attempt made before, to the letter) and stopping.

Counts alone say little, since a habit can be superficial: each behaviour also comes with its share among right and
among wrong answers, and with the accuracy where it is shown and where it is not. Those are associations: hard problems
call for more of everything.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict, cast, get_args

from data.trace import Attempt, Step, Trace
from eval.measures.rows import Outcome
from eval.measures.sample_measures import OUTCOMES, Formula, Measures, Net

if TYPE_CHECKING:  # which imports torch, while the report reads events without it
    from eval.sampling.subject import Completion

Kind = Literal[
    "valid step",
    "slip",
    "ungrounded step",
    "accepts right",
    "accepts wrong",
    "rejects right",
    "rejects wrong",
    "backtracks",
    "meets subgoal",
    "misses subgoal",
    "new approach",
    "variation",
    "repeat",
]
Written = tuple[int, str, int, int]
VERDICTS: tuple[Kind, ...] = ("accepts right", "accepts wrong", "rejects right", "rejects wrong")
BEHAVIOURS: dict[str, tuple[Kind, ...]] = {
    "verification": VERDICTS,
    "backtracking": ("backtracks",),
    "subgoals": ("meets subgoal", "misses subgoal"),
    "new_approach": ("new approach",),
    "repetition": ("repeat",),
}
EventCounts = TypedDict(
    "EventCounts",
    {
        "valid step": int,
        "slip": int,
        "ungrounded step": int,
        "accepts right": int,
        "accepts wrong": int,
        "rejects right": int,
        "rejects wrong": int,
        "backtracks": int,
        "meets subgoal": int,
        "misses subgoal": int,
        "new approach": int,
        "variation": int,
        "repeat": int,
    },
)


class BehaviourRow(EventCounts, Outcome):
    """The behaviour counts of one thinking, and whether its first and its final answer are right."""

    attempts: int
    failures: int  # attempts that the thinking itself rejected
    stops: int  # 1 where it ended on such an attempt


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a thinking did, at character `at`: the end of a step, verdict or head, the start of an attempt."""

    kind: Kind
    at: int


def events(trace: Trace) -> list[Event]:
    """Everything that a thinking did, in order."""
    everything = [event for step in trace.steps for event in _of_step(step)]
    for attempt in trace.attempts:
        if attempt.judged_correct is not None:
            everything.append(Event(_verdict(attempt.judged_correct, attempt.correct), attempt.end))
    everything += [Event("backtracks", place) for place in trace.backtracks]
    everything += [Event("meets subgoal" if goal.met else "misses subgoal", goal.end) for goal in trace.goals]
    everything += _ways_on(trace.attempts)
    return sorted(everything, key=lambda event: event.at)


def describe(completion: "Completion") -> BehaviourRow:
    """One completion's row: its events by kind, and whether its first and its final answer are right."""
    trace = completion.trace
    counts = Counter(event.kind for event in events(trace))
    failures = sum(attempt.judged_correct is False for attempt in trace.attempts)
    return {
        **cast(EventCounts, {kind: counts[kind] for kind in get_args(Kind)}),
        "problem": completion.problem.canonical,
        "task": completion.problem.task,
        "correct": completion.correct,
        "first_correct": trace.first_correct,
        "right_attempt": any(attempt.correct for attempt in trace.attempts),
        "attempts": len(trace.attempts),
        "failures": failures,
        "stops": int(failures > 0 and trace.attempts[-1].judged_correct is False),
    }


def _count(row: BehaviourRow, kinds: Sequence[Kind]) -> int:
    return sum(row[kind] for kind in kinds)


def _of_behaviour(name: str, kinds: tuple[Kind, ...]) -> Iterator[tuple[str, Formula[BehaviourRow]]]:
    """How often, in what share of thinkings, and both ways conditional on correctness."""
    yield name, lambda row: (_count(row, kinds), 1)
    yield f"{name}_shown", lambda row: (_count(row, kinds) > 0, 1)
    yield f"{name}_shown_when_right", lambda row: (_count(row, kinds) > 0 and row["correct"], row["correct"])
    yield f"{name}_shown_when_wrong", lambda row: (_count(row, kinds) > 0 and not row["correct"], not row["correct"])
    yield f"accuracy_with_{name}", lambda row: (row["correct"] and _count(row, kinds) > 0, _count(row, kinds) > 0)
    yield f"accuracy_without_{name}", lambda row: (row["correct"] and not _count(row, kinds), not _count(row, kinds))


def _share(kinds: Sequence[Kind], of: Sequence[Kind]) -> Formula[BehaviourRow]:
    return lambda row: (_count(row, kinds), _count(row, of))


MEASURES: Measures[BehaviourRow] = {
    **{name: OUTCOMES[name] for name in ("accuracy", "first_attempt_accuracy")},
    "first_to_final": Net[BehaviourRow](
        lambda row: (
            row["correct"] - row["first_correct"] if row["first_correct"] is not None else 0,
            row["first_correct"] is not None,
        )
    ),
    **{name: OUTCOMES[name] for name in ("incorrect_to_correct", "correct_to_incorrect")},
    # Right answers that a later attempt earned, minus right first attempts that were given up: luck counts for nothing.
    "net_correction": Net[BehaviourRow](
        lambda row: (
            OUTCOMES["incorrect_to_correct"](row)[0] - OUTCOMES["correct_to_incorrect"](row)[0],
            row["first_correct"] is not None,
        )
    ),
    "verdicts_right": _share(("accepts right", "rejects wrong"), VERDICTS),
    "wrong_rejected": _share(("rejects wrong",), ("rejects wrong", "accepts wrong")),
    "right_accepted": _share(("accepts right",), ("accepts right", "rejects right")),
    "subgoals_met": _share(("meets subgoal",), BEHAVIOURS["subgoals"]),
    "new_approach_after_failure": lambda row: (row["new approach"], row["failures"]),
    # Of failures that another attempt follows: who stops less often has more of every other way on after a failure.
    "new_approach_of_retries": lambda row: (row["new approach"], row["failures"] - row["stops"]),
    "variation_after_failure": lambda row: (row["variation"], row["failures"]),
    "repeat_after_failure": lambda row: (row["repeat"], row["failures"]),
    "repeat_of_retries": lambda row: (row["repeat"], row["failures"] - row["stops"]),
    "stop_after_failure": lambda row: (row["stops"], row["failures"]),
    **{key: measure for name, kinds in BEHAVIOURS.items() for key, measure in _of_behaviour(name, kinds)},
}


def _of_step(step: Step) -> Iterator[Event]:
    if step.judged_wrong is not None:
        yield Event(_verdict(not step.judged_wrong, step.correct), step.end)
    if step.correct and step.grounded:
        yield Event("valid step", step.end)
    if not step.correct:
        yield Event("slip", step.end)
    if not step.grounded:
        yield Event("ungrounded step", step.end)


def _verdict(accepted: bool, right: bool) -> Kind:
    if accepted:
        return "accepts right" if right else "accepts wrong"
    return "rejects right" if right else "rejects wrong"


def _ways_on(attempts: Sequence[Attempt]) -> Iterator[Event]:
    """How the thinking went on after each attempt that it rejected."""
    ways = [tuple(_written(step) for step in attempt.steps) for attempt in attempts]
    earlier: set[tuple[Written, ...]] = set()
    for number, attempt in enumerate(attempts):
        is_repeat = ways[number] in earlier
        earlier.add(ways[number])
        if number == 0 or attempts[number - 1].judged_correct is not False or not attempt.steps:
            continue
        if is_repeat:
            yield Event("repeat", attempt.start)
        elif ways[number - 1] and ways[number][0][:3] == ways[number - 1][0][:3]:
            yield Event("variation", attempt.start)
        else:
            yield Event("new approach", attempt.start)


def _written(step: Step) -> Written:
    """A step to compare with others: the order within a sum or product makes no difference."""
    left, right = step.left, step.right
    if step.operator in "+*":
        left, right = sorted((left, right))
    return left, step.operator, right, step.value
