"""Thinking held to a budget (s1's budget forcing, Muennighoff et al. 2025): cut short, continued, or extended.

A thinking that is longer than the budget is cut there and closed, and the model answers. A thinking that was cut off at
training's longest completion continues if the budget is larger. A thinking that would end too soon gets "Wait" in place
of its end, and continues. All start from freely drawn completions, the same ones that accuracy is measured on, and
continue from their ids. A thinking that is cut after n tokens is as likely as one that was stopped there, so a budget
costs only the tokens after the cut. It works with any model and back end, also where the tags are several tokens or a
server samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.mixture import side_by_side
from data.response import CLOSE, OPEN
from eval.measures.rows import SampleRow
from eval.sampling.alter import thinking_ids, waiting
from eval.sampling.samples import describe
from eval.sampling.subject import Completion, Subject, closing, go_on
from train.model.prompts import token_counts
from train.rollout.interface import Rollout

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the longest completion in training
BEYOND = (2, 4)  # times the longest completion in training: the model may go on where it was cut off
WAITS = (1, 2, 4)
ROOM = 64  # tokens for the answer, after the thinking


@dataclass(frozen=True, slots=True)
class Budget:
    """One point of the sequential curve: thinking closed at `limit` tokens, and carried on `waits` times before.

    `more` is how many tokens the model may go on for beyond the longest completion in training. No thinking ends before
    `minimum` tokens, as far as `waits` allow.
    """

    name: str
    limit: int
    waits: int = 0
    more: int = 0
    minimum: int | None = None

    @property
    def draws(self) -> int:
        """The most samples that `keep_to` draws for a completion."""
        return self.waits + 1 + (self.more > 0)


def budgets(longest: int, context: int, habit: int | None = None) -> list[Budget]:
    """Budgets for a model trained on completions of `longest` tokens, shortest first, that fit into `context`.

    `habit` is one more: the mean thinking of the model before RL. Where it equals another it takes its place.
    """
    names = {max(1, int(longest * share)): f"at most {max(1, int(longest * share))}" for share in SHARES}
    if habit is not None:
        names[max(1, min(habit, longest))] = HABIT
    short = [Budget(name, limit) for limit, name in names.items()]
    beyond = [
        Budget(f"up to {times * longest}", times * longest, more=(times - 1) * longest)
        for times in BEYOND
        if times * longest <= context
    ]
    most = min(2 * longest, context - longest)  # a thinking that goes on may take as long as the first time
    waits = [Budget(f"Wait x{count}", most, count) for count in WAITS if most > longest]
    return [one for one in sorted(short, key=lambda one: one.limit) + beyond + waits if one.limit <= context]


HABIT = "the start's mean"  # the name of the budget that is the mean thinking of the model before RL


def most_draws(limits: Sequence[Budget]) -> int:
    """The most samples that `keep_to` draws for a completion, over all budgets."""
    return sum(budget.draws for budget in limits)


def keep_to(subject: Subject, completions: Sequence[Completion], budget: Budget) -> list[Completion]:
    """The completions with their thinking held to the budget; one that never began to think stays as it is."""
    results = list(completions)
    thinking = [place for place, one in enumerate(results) if subject.opened or one.text.lstrip().startswith(OPEN)]
    least = budget.limit if budget.minimum is None else budget.minimum
    for _ in range(budget.waits):
        early = [place for place in thinking if _is_over(results[place]) and _thought(subject, results[place]) < least]
        _go_on(subject, results, {place: _open(subject, results[place]) + waiting(subject) for place in early})
    if budget.more:  # not one cut off in its answer: that would be more room to answer, not to think
        _go_on(
            _allowed(subject, budget.more), results, {p: results[p].ids for p in thinking if not _is_over(results[p])}
        )
    starts = {}
    for place in thinking:
        if not _is_over(results[place]) or _thought(subject, results[place]) > budget.limit:
            starts[place] = _open(subject, results[place], budget.limit) + closing(subject)
        elif not results[place].ended:
            starts[place] = results[place].ids  # cut off in its answer
    _go_on(_allowed(subject, ROOM), results, starts)
    return results


def _allowed(subject: Subject, tokens: int) -> Subject:
    """The subject with that many new tokens allowed."""
    return replace(subject, sampling=replace(subject.sampling, max_new_tokens=tokens))


def rows(subject: Subject, completions: Sequence[Completion]) -> list[SampleRow]:
    """Each completion as a row of `eval.sampling.samples`."""

    def row(one: Completion) -> SampleRow:
        rollout = Rollout(one.ids, "stop" if one.ended else "length")
        return describe(one.problem, rollout, subject.tokenizer, subject.opened)

    return side_by_side(row, completions)


def _go_on(subject: Subject, results: list[Completion], starts: dict[int, list[int]]) -> None:
    """Replace each start by its continuation."""
    continuations = go_on(subject, [(results[place].problem, start) for place, start in starts.items()])
    for place, completion in zip(starts, continuations, strict=True):
        results[place] = completion


def _is_over(completion: Completion) -> bool:
    """Whether the thinking ended."""
    return completion.ended or CLOSE in completion.text


def _thought(subject: Subject, completion: Completion) -> int:
    """Tokens of thinking."""
    return token_counts(subject.tokenizer, completion.ids, subject.opened)[0]


def _open(subject: Subject, completion: Completion, most: int | None = None) -> list[int]:
    """The completion up to the end of its thinking, or to `most` tokens of it; what would stop or close is left out."""
    ids = [token for token in thinking_ids(subject, completion) if token not in subject.sampling.stop_ids]
    return ids if most is None else ids[: len(ids) - max(0, _thought(subject, completion) - most)]
