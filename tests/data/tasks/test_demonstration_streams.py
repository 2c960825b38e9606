"""A seed goes on drawing the problems, demonstrations and traces that the published models were trained on."""

import random
from hashlib import sha256

import pytest

from data.tasks import get_task

DOUBTS = {"hasty": 0.2, "recheck": 0.3}


@pytest.mark.parametrize(
    ("name", "habits", "expected"),
    [
        ("countdown", {}, "f6cdf4ffd216587e"),
        ("countdown", DOUBTS | {"numbers": 4, "slip": 0.3, "misjudge": 0.1, "orderly": 0.3}, "0e3ad495b8186926"),
        ("arithmetic", {}, "59ecefcefd6b3526"),
        ("arithmetic", DOUBTS | {"factor_digits": 3, "false_alarm": 0.2, "settled": True}, "d00dcac916bcaee0"),
    ],
)
def test_a_seed_keeps_its_problems_demonstrations_and_traces(name, habits, expected):
    task, rng, digest = get_task(name), random.Random(7), sha256()
    settings = task.settings(**habits)
    for problem in task.draw(rng, settings, 200):
        completion = task.demonstrate(problem, rng, settings)
        thinking = completion.removeprefix("<think>").partition("</think>")[0]
        digest.update(repr((problem, completion, task.trace(problem, thinking))).encode())
    assert digest.hexdigest()[:16] == expected
