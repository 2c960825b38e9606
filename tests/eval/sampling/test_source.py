import pytest

from data.mixture import load_mixture
from eval.sampling.source import Source, held_out


def test_a_task_whose_problems_are_all_passed_over_is_named():
    small = {"numbers": 2, "largest": 6}
    source = Source(load_mixture({"arithmetic": {}, "countdown": small}), 0, "", 8)
    number = sum(problem.task == "countdown" for problem in held_out(source, 400))
    assert 2 < number < 100
    others = held_out(source, 10, skip=2 * number - 2)
    assert [problem.task for problem in others].count("countdown") == 1  # all that it has left
    said = f"The task countdown has {number} test problems, so --skip 200 leaves none of it; skip fewer"
    with pytest.raises(ValueError, match=said):
        held_out(source, 10, skip=200)
    rare = Source(load_mixture({"arithmetic": {}, "countdown": small | {"weight": 0.001}}), 0, "", 8)
    assert len(held_out(rare, 10, skip=10)) == 10  # its share is none: nothing is missing
