import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.doubt import MOST
from data.expression import parse_expression
from data.mixture import judge
from data.problem import Problem
from data.response import parse_response
from data.tasks import arithmetic
from data.tasks.arithmetic import Settings

PROBLEM = Problem("arithmetic", "compute 36 * 4", "arithmetic 4 36 = 144", {"expression": "36 * 4", "target": 144})


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(3, 6))
def test_a_demonstration_without_slips_is_right(seed, factor_digits, terms):
    settings = Settings(digits=4, factor_digits=factor_digits, terms=terms, slip=0.0, false_alarm=0.0)
    rng = random.Random(seed)
    problem = arithmetic.generate(rng, settings)
    assert parse_expression(problem.facts["expression"]).value == problem.facts["target"]
    response, verdict = judge(problem, arithmetic.demonstrate(problem, rng, settings))
    trace = arithmetic.parse_trace(problem, response.thinking)
    assert verdict.correct
    assert trace.first_correct and trace.slips == 0 and len(trace.attempts) == 1


@given(st.integers(0, 10_000))
def test_a_slip_that_is_not_repaired_costs_the_answer(seed):
    settings = Settings(slip=0.5, notice=0.5, false_alarm=0.0, factor_digits=2, terms=6)
    rng = random.Random(seed)
    problem = arithmetic.generate(rng, settings)
    response, verdict = judge(problem, arithmetic.demonstrate(problem, rng, settings))
    trace = arithmetic.parse_trace(problem, response.thinking)
    assert verdict.format
    if trace.slips == trace.repairs:
        assert verdict.correct
    if trace.first_correct:
        assert trace.slips == 0


def test_each_column_may_state_the_digits_that_are_settled():
    problem = Problem(
        "arithmetic", "compute 308 * 7", "arithmetic 7 308 = 2156", {"expression": "308 * 7", "target": 2156}
    )
    settings = Settings(slip=0.0, false_alarm=0.0, settled=True)
    assert arithmetic.demonstrate(problem, random.Random(0), settings) == (
        "<think> for 308 * 7 : 8 * 7 = 56 vs 56 yes so 6 0 * 7 = 0 vs 0 yes 0 + 5 = 5 vs 5 yes so 56 "
        "3 * 7 = 21 vs 21 yes so 2156</think> 2156"
    )


def test_an_unrepaired_slip_in_the_middle_of_a_multiplication_is_always_wrong():
    wrong = "<think> for 36 * 4 : 6 * 4 = 24 vs 24 yes 3 * 4 = 13 vs 13 yes 13 + 2 = 15 vs 15 yes so 154</think> 154"
    assert not judge(PROBLEM, wrong)[1].correct


def test_steps_slips_and_redone_steps_are_read_off_a_trace():
    thinking = " for 36 * 4 : 6 * 4 = 24 vs 24 yes 3 * 4 = 13 vs 12 no 3 * 4 = 12 vs 12 yes 12 + 2 = 14 yes so 144"
    trace = arithmetic.parse_trace(PROBLEM, thinking)
    assert [step.correct for step in trace.steps] == [True, False, True, True]
    assert [step.redoes for step in trace.steps] == [False, False, True, False]
    assert [step.judged_wrong for step in trace.steps] == [False, True, False, False]
    assert (trace.slips, trace.repairs, trace.subgoals) == (1, 1, 1)
    assert [attempt.correct for attempt in trace.attempts] == [False, True]
    assert thinking[trace.steps[1].start : trace.steps[1].end] == "3 * 4 = 13"


def test_a_redo_needs_a_no_before_it():
    trace = arithmetic.parse_trace(PROBLEM, " 3 * 4 = 13 yes 3 * 4 = 12 yes")
    assert [step.redoes for step in trace.steps] == [False, False]
    assert trace.repairs == 0


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_a_demonstration_rests_on_what_is_at_hand_and_concludes_its_answer(seed, factor_digits):
    rng = random.Random(seed)
    settings = Settings(digits=4, factor_digits=factor_digits)
    problem = arithmetic.generate(rng, settings)
    response = parse_response(arithmetic.demonstrate(problem, rng, settings))
    trace = arithmetic.parse_trace(problem, response.thinking)
    assert all(step.grounded for step in trace.steps)
    assert trace.conclusion == response.answer
    if trace.slips == 0:
        assert all(goal.met for goal in trace.goals)


def test_an_operand_out_of_nowhere_is_not_grounded():
    trace = arithmetic.parse_trace(PROBLEM, " 6 * 4 = 24 vs 24 yes 7 * 4 = 28 vs 29 no 29 + 2 = 31 vs 31 yes")
    assert [step.grounded for step in trace.steps] == [True, False, True]  # the check stated 29


def test_a_part_is_met_where_its_value_is_stated_before_the_next():
    trace = arithmetic.parse_trace(PROBLEM, " for 36 * 4 : 6 * 4 = 24 so 134 for 100 + 34 : 100 + 34 = 134")
    assert [goal.met for goal in trace.goals] == [False, True]


@pytest.mark.parametrize(
    ("answer", "correct", "form"),
    [
        ("144", True, True),
        ("145", False, True),
        ("-144", False, True),
        ("144.0", False, False),
        ("0144", False, False),
        ("1 4 4", False, False),
        ("144 144", False, False),
        ("36 * 4", False, False),
        ("１４４", False, False),
        ("+144", False, False),
        ("1" * 40, False, False),
        ("144\n", True, True),
    ],
)
def test_only_the_number_itself_is_an_answer(answer, correct, form):
    verdict = judge(PROBLEM, f"<think> hm</think> {answer}")[1]
    assert (verdict.correct, verdict.format) == (correct, form)


@given(st.text(max_size=300) | st.text(alphabet="0123456789+-*/= yesn:forso", max_size=300))
def test_no_thinking_breaks_the_parser(thinking):
    trace = arithmetic.parse_trace(PROBLEM, thinking)
    assert trace.repairs <= trace.slips <= len(trace.steps)


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"arithmetic\.digits is 1"):
        Settings(digits=1)
    with pytest.raises(ValueError, match=r"arithmetic\.notice is -1"):
        Settings(notice=-1)


def test_a_hasty_demonstration_states_the_value_at_once_and_is_one_attempt():
    settings = Settings(hasty=1)
    rng = random.Random(0)
    problem = arithmetic.generate(rng, settings)
    response, verdict = judge(problem, arithmetic.demonstrate(problem, rng, settings))
    trace = arithmetic.parse_trace(problem, response.thinking)
    assert verdict.correct and response.thinking == f" so {problem.facts['target']}"
    assert [attempt.correct for attempt in trace.attempts] == [True] and not trace.steps
    assert trace.conclusion == response.answer


@given(st.integers(0, 10**6))
def test_wait_redoes_the_last_step_or_columns_and_begins_a_hasty_calculation_anew(seed):
    settings = Settings(slip=0, false_alarm=0, hasty=0.5, recheck=1)
    rng = random.Random(seed)
    problem = arithmetic.generate(rng, settings)
    response, verdict = judge(problem, arithmetic.demonstrate(problem, rng, settings))
    trace = arithmetic.parse_trace(problem, response.thinking)
    hasty = response.thinking.startswith(" so ")
    assert verdict.correct and trace.conclusion == response.answer
    rechecks = response.thinking.count(" wait ")
    anew = response.thinking.count(" wait for ")
    assert 1 <= rechecks <= MOST and len(trace.backtracks) == rechecks
    assert [step.redoes for step in trace.steps].count(True) in {rechecks - anew, rechecks - anew - hasty}
    assert [attempt.correct for attempt in trace.attempts] == [True] * (1 + hasty)  # what is confirmed is not new
    assert all(step.grounded for step in trace.steps)


def test_a_recheck_puts_the_last_step_right():
    problem = Problem("arithmetic", "compute 57 * 3", "", {"expression": "57 * 3", "target": 171})
    columns = " for 57 * 3 : 7 * 3 = 21 vs 21 yes 5 * 3 = 15 vs 15 yes 15 + 2 = 18 vs 18 yes so 181"
    trace = arithmetic.parse_trace(problem, f"{columns} wait 15 + 2 = 17 vs 17 yes so 171")
    assert [attempt.correct for attempt in trace.attempts] == [False, True]
    assert trace.conclusion == "171"


def test_columns_that_are_worked_out_again_are_an_attempt_where_they_come_to_something_else():
    problem = Problem("arithmetic", "compute 57 * 3", "", {"expression": "57 * 3", "target": 171})
    wrong = " for 57 * 3 : 7 * 3 = 21 vs 21 yes 5 * 3 = 15 vs 15 yes 15 + 2 = 18 vs 18 yes so 181"
    right = wrong.replace("= 18 vs 18", "= 17 vs 17").replace("so 181", "so 171")
    for first, again, attempts in (
        (wrong, right, [False, True]),
        (right, right, [True]),
        (wrong, wrong, [False]),
        (right, wrong, [True, False]),
    ):
        trace = arithmetic.parse_trace(problem, f"{first} wait{again}")
        assert [attempt.correct for attempt in trace.attempts] == attempts
        assert trace.conclusion == again.split()[-1] and len(trace.backtracks) == 1


def test_a_recheck_of_columns_has_no_slips():
    settings = Settings(products=1, digits=2, slip=1, notice=0, recheck=1)
    for seed in range(20):
        rng = random.Random(seed)
        problem = arithmetic.generate(rng, settings)
        _, verdict = judge(problem, arithmetic.demonstrate(problem, rng, settings))
        assert verdict.correct


def test_a_wrong_leap_that_is_calculated_after_all_is_put_right():
    problem = Problem("arithmetic", "compute 6 * 7 + 8", "", {"expression": "6 * 7 + 8", "target": 50})
    trace = arithmetic.parse_trace(problem, " so 49 wait 6 * 7 = 42 vs 42 yes 42 + 8 = 50 vs 50 yes")
    assert [attempt.correct for attempt in trace.attempts] == [False, True]
    assert trace.conclusion == "50"


@pytest.mark.parametrize("between", ["wait wait", "wait hmm wait", "wait so 9 wait"])
def test_doubt_upon_doubt_begins_the_whole_anew(between):
    problem = Problem("arithmetic", "compute 5 + 3 + 1", "", {"expression": "5 + 3 + 1", "target": 9})
    thinking = f" 5 + 3 = 8 vs 8 yes 8 + 1 = 9 vs 9 yes {between} 8 + 1 = 9 vs 9 yes"
    trace = arithmetic.parse_trace(problem, thinking)
    assert trace.conclusion == "9" and not any(step.redoes for step in trace.steps)


PIECES = ["5", "+", "3", "=", "8", "vs", "yes", "no", "wait", "so", "for", ":", "9", "or", "try"]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_words_of_the_task_break_the_parser(words):
    problem = Problem("arithmetic", "compute 5 + 3 + 1", "", {"expression": "5 + 3 + 1", "target": 9})
    arithmetic.parse_trace(problem, " " + " ".join(words))
