"""Alters a completion in ids: the model's own stay as they were sampled, and the insertion is encoded apart."""

import random
import re

from data.trace import Step
from eval.sampling.subject import Completion, Subject, cut

SPOKEN_WAIT = "\nWait,"
TASK_WAIT = " wait"  # for models that know no other words than those of their tasks


def restate(subject: Subject, completion: Completion, step: Step, value: int, after: str = "") -> list[int]:
    """The completion up to `step`, which now states `value`, then `after`; what followed is left out."""
    match = re.search(r"-?\d+$", completion.thinking[step.start : step.end])
    assert match is not None  # every step ends with its value
    prefix, gap = cut(subject, completion.ids, completion.thinking_at + step.start + match.start())
    return prefix + subject.encode(f"{gap}{value}{after}")


def replaced(subject: Subject, completion: Completion, start: int, end: int, text: str) -> list[int]:
    """The completion with `text` in place of characters `start` to `end` of its thinking."""
    start, end = start + completion.thinking_at, end + completion.thinking_at
    prefix, gap = cut(subject, completion.ids, start)
    inside, rest = cut(subject, completion.ids, end)
    behind = len(inside) + bool(rest)  # the first id that lies wholly behind `end`
    overhang = subject.decode(completion.ids[:behind])[end:]
    return prefix + subject.encode(f"{gap}{text}{overhang}") + completion.ids[behind:]


def thinking_ids(subject: Subject, completion: Completion, share: float = 1.0) -> list[int]:
    """The completion up to `share` of the tokens of its thinking, which stays open."""
    before, _ = cut(subject, completion.ids, completion.thinking_at)
    whole, gap = cut(subject, completion.ids, completion.thinking_at + len(completion.thinking))
    if share == 1:
        return whole + subject.encode(gap)
    return whole[: len(before) + round(share * (len(whole) - len(before)))]


def waiting(subject: Subject) -> list[int]:
    """The ids of a word of doubt that the model can read ("Wait" of budget forcing, arXiv 2501.19393)."""
    return subject.encode(SPOKEN_WAIT if subject.can_read(SPOKEN_WAIT) else TASK_WAIT)


def wrong_value(step: Step, rng: random.Random) -> int:
    """A wrong value of the kind that people write: one, two or ten off, and never below zero."""
    near = [step.value + off for off in (-10, -2, -1, 1, 2, 10)]
    return rng.choice([value for value in near if value >= 0])
