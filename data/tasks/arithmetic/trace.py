"""The parser of arithmetic's thinkings: steps, subgoals and attempts, each marked right or wrong."""

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Container
from itertools import islice, pairwise

from data.problem import Problem
from data.trace import MAX_STEPS, STEP, Attempt, Step, Subgoal, Trace, calculate


def parse_trace(problem: Problem, thinking: str) -> Trace:
    """Parse a calculation.

    The first attempt is every step as it was first written: correct where no step slipped and the last one leads to the
    target. Each redone step makes a further attempt of the steps after it. `wait` restarts the whole, unless the last
    step follows it again. A value without any step is an attempt too. A pass that only confirms the end of the pass
    before it is no attempt.
    """
    trace = Trace()
    matches = list(islice(STEP.finditer(thinking), MAX_STEPS))
    sources = _Sources(problem.facts["expression"], thinking)
    for i, match in enumerate(matches):
        until = matches[i + 1].start() if i + 1 < len(matches) else len(thinking)
        judged = re.match(r" ?(?:vs -?\d{1,18} )?(yes|no)\b", thinking[match.end() : until], re.ASCII)
        left, operator, right, value = int(match[1]), match[2], int(match[3]), int(match[4])
        before = trace.steps[-1] if trace.steps else None
        redoes = False
        if before is not None and (before.left, before.operator, before.right) == (left, operator, right):
            between = thinking[before.end : match.start()]
            waits = between.count("wait")  # two restarts in between
            redoes = before.judged_wrong is True if not waits else waits == 1 and between.rstrip().endswith("wait")
        wrong = None if judged is None else judged[1] == "no"
        grounded = {left, right} <= sources.before(match.start())
        trace.steps.append(Step(left, operator, right, value, match.start(), match.end(), redoes, wrong, grounded))
        sources.add(value)
    trace.goals = _goals(thinking, trace.steps)
    trace.backtracks = [step.start for step in trace.steps if step.redoes]
    last_pass: list[Step] = []
    for start, end in _passes(thinking, {step.start for step in trace.steps if step.redoes}):
        steps = [step for step in trace.steps if start <= step.start < end]
        result = _concluded(thinking[start:end], steps)
        if result is None:
            continue
        if start:
            trace.backtracks.append(start)
        confirms = str(result) == trace.conclusion and bool(steps) and _ends_in(last_pass, steps)
        last_pass, trace.conclusion = steps, str(result)
        if confirms:
            continue
        trace.attempts += _attempts(steps, start, end, result == problem.facts["target"])
    trace.backtracks.sort()
    return trace


class _Sources:
    """The numbers available to a step: the problem's, those stated before it, and the tens and digits of all of them.

    The value of a check, `vs 57`, counts as stated, and so does a final value, `so 144`.
    """

    def __init__(self, expression: str, thinking: str) -> None:
        self.numbers = {0}  # fills up the shorter number of a column addition
        statements = re.finditer(r"\b(?:so|vs) (\d{1,18})\b", thinking, re.ASCII)
        self.stated = deque((match.start(), int(match[1])) for match in statements)
        for number in re.findall(r"\d+", expression):
            self.add(int(number))

    def before(self, place: int) -> set[int]:
        """The numbers available at character `place`; call it in the order of the steps."""
        while self.stated and self.stated[0][0] < place:
            self.add(self.stated.popleft()[1])
        return self.numbers

    def add(self, number: int) -> None:
        """Add a number, with its tens and digits."""
        self.numbers |= {number, number // 10 * 10, *map(int, str(abs(number)))}


def _goals(thinking: str, steps: list[Step]) -> list[Subgoal]:
    """The subgoals `for 48 - 16 :`; one is met where its value is stated before the next begins."""
    heads = list(islice(re.finditer(r"\bfor (\d{1,18}) ([-+*/]) (\d{1,18}) :", thinking, re.ASCII), MAX_STEPS))
    starts = [step.start for step in steps]
    goals = []
    for i, head in enumerate(heads):
        until = heads[i + 1].start() if i + 1 < len(heads) else len(thinking)
        stated = [step.value for step in steps[bisect_left(starts, head.end()) : bisect_left(starts, until)]]
        stated += [int(so) for so in re.findall(r"\bso (\d{1,18})\b", thinking[head.end() : until], re.ASCII)]
        goals.append(Subgoal(head.start(), head.end(), calculate(int(head[1]), head[2], int(head[3])) in stated))
    return goals


def _passes(thinking: str, redone: Container[int]) -> list[tuple[int, int]]:
    """The spans that calculate the whole: up to the first `wait` that no redone step follows, and so on."""
    waits = islice(re.finditer(r"\bwait\b(?=(\s*))", thinking), MAX_STEPS)
    return list(pairwise([0, *(wait.end() for wait in waits if wait.end(1) not in redone), len(thinking)]))


def _concluded(thinking: str, steps: list[Step]) -> int | None:
    """The final value of a pass: the number after a closing `so`, else the last step's; None without either."""
    so = re.search(r"\bso (-?\d{1,18})(?:\s+wait)?\s*$", thinking)
    if so:
        return int(so[1])
    return steps[-1].value if steps else None


def _ends_in(steps: list[Step], end: list[Step]) -> bool:
    """Whether `steps` end with the calculations of `end`, at the same values."""
    return [step.stated for step in steps[-len(end) :]] == [step.stated for step in end]


def _attempts(steps: list[Step], start: int, end: int, leads_to_the_target: bool) -> list[Attempt]:
    """The attempts of one pass: every step as it was first written, and one more for each step redone otherwise.

    A recheck that confirms a step is no attempt of its own.
    """
    if not steps:  # the value is stated at once
        return [Attempt(leads_to_the_target, start, end)]
    attempts = []
    standing = [step for step in steps if not step.redoes]  # each redo replaces the step that it redoes
    wrong = sum(not step.correct for step in standing)
    place = -1  # in `standing`, of the step before
    for number, step in enumerate(steps):
        if not step.redoes:
            place += 1
        elif step.value == standing[place].value and standing[place].judged_wrong is not True:
            continue
        else:
            wrong += standing[place].correct - step.correct
            standing[place] = step
        if step.redoes or not number:
            right = leads_to_the_target and not wrong
            attempts.append(Attempt(right, step.start, end, steps=tuple(standing)))
    return attempts
