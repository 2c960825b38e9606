"""A trial's config out of the base, what is set for all, and its own values."""

import pytest

from eval.sweep.setup.setting import put, setting
from eval.sweep.setup.space import read_space


def test_dots_lead_inside_and_the_base_stays_as_it_was():
    base = {"name": "x", "seed": 3, "max_steps": 30, "tasks": {"countdown": {"numbers": 2}, "arithmetic": None}}
    space = read_space({"tasks.countdown.slip": [0.1, 0.2], "scratch.hidden_size": [32, 64], "learning_rate": [1, 2]})
    params = {"tasks.countdown.slip": 0.2, "scratch.hidden_size": 64, "learning_rate": 1}
    found = setting(base, {"tasks.arithmetic.terms": 3, "validation_problems": 8}, space, params)
    assert found == {
        "max_steps": 30,
        "tasks": {"countdown": {"numbers": 2, "slip": 0.2}, "arithmetic": {"terms": 3}},
        "scratch": {"hidden_size": 64},
        "learning_rate": 1,
        "validation_problems": 8,
        "keep_last": 1,
        "eval_strategy": "steps",
        "eval_steps": 3,
    }
    assert base["tasks"] == {"countdown": {"numbers": 2}, "arithmetic": None}


@pytest.mark.parametrize(("steps", "every"), [(40, 4), (7, 1), (11, 11), (100, 10), (1, 1)])
def test_a_run_that_says_nothing_of_it_is_evaluated_up_to_ten_times_and_at_its_end(steps, every):
    found = setting({"max_steps": steps}, {}, read_space({"x": [1, 2]}), {"x": 1})
    assert found["eval_steps"] == every and steps % every == 0


def test_what_the_base_says_of_evaluation_and_checkpoints_stands():
    base = {"max_steps": 40, "eval_strategy": "steps", "eval_steps": 20, "save_total_limit": 5}
    assert setting(base, {}, read_space({"x": [1, 2]}), {"x": 1}) == base | {"x": 1}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("tasks.countdwon.slip", "tasks.countdwon.slip leads nowhere: the config has no tasks.countdwon"),
        ("max_steps.x", "max_steps.x leads nowhere: max_steps is 4, no mapping"),
    ],
)
def test_a_field_that_leads_nowhere_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        put({"max_steps": 4, "tasks": {"countdown": {}}}, field, 1)
