"""The measures of a checkpoint. Each is a sum of numerators over a sum of denominators of its samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np

from eval.measures.estimators import Estimate, Sums, paired_difference, ratio
from eval.measures.rows import Outcome, ProblemRow, SampleRow

R = TypeVar("R", bound=ProblemRow)
Formula = Callable[[R], tuple[float, float]]  # a row's numerator and denominator; a denominator of 0 leaves it out
Measures = Mapping[str, Formula[R]]
Count = Literal["slips", "attempts", "subgoals"]
Said = Literal["says_verification", "says_backtracking", "says_subgoals", "says_backward_chaining"]
Kind = Literal["always", "traced", "said"]
SAID = ("verification", "backtracking", "subgoals", "backward_chaining")  # by words: `eval.measures.lexical`


@dataclass(frozen=True)  # a generic class with slots cannot be frozen in Python 3.11
class Net(Generic[R]):
    """A formula of gains minus losses, whose numerators may be negative: its interval has two sides even at 0."""

    of: Formula[R]

    def __call__(self, row: R) -> tuple[float, float]:
        """The row's numerator and denominator."""
        return self.of(row)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a checkpoint's samples, with what tables, the page and the curves need to know of it.

    `share` says that it is shown in percent, else it is a number. A measure that is `traced` is known of thinkings that
    their task takes apart, one that is `said` of all others. `greedy` is taken of the greedy samples alone. `per_task`
    has it shown of each task as well, `on_page` in the report, `on_curve` at each point of the train-compute curve.
    """

    label: str
    of: Formula[SampleRow]
    share: bool = True
    kind: Kind = "always"
    greedy: bool = False
    per_task: bool = False
    on_page: bool = True
    on_curve: bool = False


def _count(name: Count) -> Formula[SampleRow]:
    """The mean of a count, over the rows that have one."""
    return lambda row: (row[name] or 0, row[name] is not None)


def _shown(name: Said) -> Formula[SampleRow]:
    """The share of the rows with a count whose count is not 0."""
    return lambda row: (bool(row.get(name)), row.get(name) is not None)


# What a completion's end says, of samples and of the rows of the behaviour probe alike.
OUTCOMES: Measures[Outcome] = {
    "accuracy": lambda row: (row["correct"], 1),
    "first_attempt_accuracy": lambda row: (row["first_correct"] is True, row["first_correct"] is not None),
    # A right answer after a wrong first attempt counts only where a later attempt is right: the rest is luck.
    "incorrect_to_correct": lambda row: (
        row["first_correct"] is False and row["correct"] and bool(row["right_attempt"]),
        row["first_correct"] is False,
    ),
    "correct_to_incorrect": lambda row: (
        row["first_correct"] is True and not row["correct"],
        row["first_correct"] is True,
    ),
}

# Every measure of samples, in the order in which tables show them. A new one is a line here.
SAMPLE_MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", OUTCOMES["accuracy"], per_task=True, on_curve=True),
    "greedy_accuracy": Measure("greedy accuracy", OUTCOMES["accuracy"], greedy=True, per_task=True, on_curve=True),
    "first_attempt_accuracy": Measure(
        "first-attempt accuracy", OUTCOMES["first_attempt_accuracy"], kind="traced", per_task=True
    ),
    "incorrect_to_correct": Measure(
        "i→c, of wrong first attempts", OUTCOMES["incorrect_to_correct"], kind="traced", per_task=True, on_curve=True
    ),
    "correct_to_incorrect": Measure(
        "c→i, of right first attempts", OUTCOMES["correct_to_incorrect"], kind="traced", per_task=True
    ),
    "right_by_luck": Measure(
        "right by luck, of right answers",
        lambda row: (
            row["correct"] and row["right_attempt"] is False,
            row["correct"] and row["right_attempt"] is not None,
        ),
        kind="traced",
        per_task=True,
        on_page=False,
    ),
    "step_accuracy": Measure(
        "step accuracy",
        lambda row: (row["right_steps"] or 0, row["steps"] or 0),
        kind="traced",
        per_task=True,
        on_curve=True,
    ),
    "repair_rate": Measure(
        "repair rate, of slips", lambda row: (row["repairs"] or 0, row["slips"] or 0), kind="traced", per_task=True
    ),
    **{name: Measure(name, _count(name), False, "traced", on_page=False) for name in get_args(Count)},
    "says_verification": Measure("says that it verifies", _shown("says_verification"), kind="said"),
    "says_backtracking": Measure("says that it backtracks", _shown("says_backtracking"), kind="said"),
    "says_subgoals": Measure("says that it sets subgoals", _shown("says_subgoals"), kind="said"),
    "says_backward_chaining": Measure("says that it works backward", _shown("says_backward_chaining"), kind="said"),
    "thinking_tokens": Measure(
        "thinking tokens", lambda row: (row["thinking_tokens"], 1), share=False, per_task=True, on_curve=True
    ),
    "answer_tokens": Measure("answer tokens", lambda row: (row["answer_tokens"], 1), share=False),
    "format": Measure("right format", lambda row: (row["format"], 1), on_page=False),
    "truncated": Measure("truncated", lambda row: (row["truncated"], 1), on_curve=True),
    "verifier_errors": Measure("verifier errors", lambda row: (row["error"] is not None, 1), on_page=False),
}
MEASURES: Measures[SampleRow] = {name: measure.of for name, measure in SAMPLE_MEASURES.items() if not measure.greedy}
GREEDY: Measures[SampleRow] = {name: measure.of for name, measure in SAMPLE_MEASURES.items() if measure.greedy}


def measure(rows: Sequence[SampleRow]) -> dict[str, Estimate | None]:
    """Every measure of one checkpoint: of its sampled rows, and where `greedy` of its greedy ones."""
    samples, greedy = _split(rows)
    return rates(samples, MEASURES) | (rates(greedy, GREEDY) if greedy else dict.fromkeys(GREEDY))


def compare(before: Sequence[SampleRow], after: Sequence[SampleRow]) -> dict[str, Estimate | None]:
    """Every measure's change between two checkpoints, paired by problem."""
    (samples, greedy), (samples_after, greedy_after) = _split(before), _split(after)
    both = greedy and greedy_after
    answer_changes = changes(greedy, greedy_after, GREEDY) if both else dict.fromkeys(GREEDY)
    return changes(samples, samples_after, MEASURES) | answer_changes


def rates(rows: Sequence[R], measures: Measures[R]) -> dict[str, Estimate | None]:
    """Each measure over all rows; a row needs its `problem` and what the measures read of it."""
    order = _order(rows)
    return {name: ratio(*_sums(rows, of, order), signed=isinstance(of, Net)) for name, of in measures.items()}


def changes(before: Sequence[R], after: Sequence[R], measures: Measures[R]) -> dict[str, Estimate | None]:
    """Each measure's change, paired by problem, over the problems that both sides have rows of."""
    shared = {row["problem"] for row in before} & {row["problem"] for row in after}
    before, after = ([row for row in rows if row["problem"] in shared] for rows in (before, after))
    order = _order(before)
    return {name: paired_difference(_sums(before, of, order), _sums(after, of, order)) for name, of in measures.items()}


def correct_by_problem(rows: Sequence[SampleRow]) -> Sums:
    """Right samples and samples of each problem, problems in sorted order; greedy ones are left out."""
    return _sums(_split(rows)[0], OUTCOMES["accuracy"], _order(rows))


def by_task(rows: Sequence[R]) -> dict[str, list[R]]:
    """The rows of each task, tasks in sorted order."""
    return {task: [row for row in rows if row["task"] == task] for task in sorted({row["task"] for row in rows})}


def _split(rows: Sequence[SampleRow]) -> tuple[list[SampleRow], list[SampleRow]]:
    return [row for row in rows if not row["greedy"]], [row for row in rows if row["greedy"]]


def _order(rows: Sequence[ProblemRow]) -> dict[str, int]:
    return {problem: i for i, problem in enumerate(sorted({row["problem"] for row in rows}))}


def _sums(rows: Sequence[R], of: Formula[R], order: dict[str, int]) -> Sums:
    """Numerators and denominators summed within each problem, (problems,), in the given order."""
    sums = np.zeros((2, len(order)))
    for row in rows:
        sums[:, order[row["problem"]]] += of(row)
    return sums[0], sums[1]


def as_json(estimates: dict[str, Estimate | None]) -> dict[str, Any]:
    """Estimates as plain JSON values; a rate whose denominator is 0 is null."""
    return {name: None if estimate is None else asdict(estimate) for name, estimate in estimates.items()}
