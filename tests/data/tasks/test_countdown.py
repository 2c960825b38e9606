import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mixture import judge
from data.problem import Problem
from data.response import parse_response
from data.tasks import countdown
from data.tasks.countdown import Settings
from data.trace import STEP, calculate

PROBLEM = Problem("countdown", "numbers 2 6 6 target 14", "countdown 2 6 6 = 14", {"numbers": [2, 6, 6], "target": 14})
FOURS = Problem("countdown", "numbers 2 4 5 target 10", "countdown 2 4 5 = 10", {"numbers": [2, 4, 5], "target": 10})


@pytest.mark.parametrize("answer", ["(2+6)+6", "( 2 + 6 ) + 6", "6+6+2", "2 + (6 + 6)"])
def test_right_answers_in_any_form_are_right(answer):
    assert judge(PROBLEM, f"<think> hm</think> {answer}")[1].correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("6 + 6", "exactly once"),
        ("6 + 6 + 2 + 6 - 6", "exactly once"),
        ("14", "exactly once"),
        ("7 + 7", "exactly once"),
        ("6 * 6 - 2", "makes 34"),
        ("(6 - 2) / 6", "makes 2/3"),
        ("none", "gave up"),
        ("6 + 6 + 2 = 14", "no expression"),
        ("6 + 6 + 2 or 2 + 6 + 6", "no expression"),
        ("6+6+2\n2+6+6", "no expression"),
    ],
)
def test_wrong_answers_get_their_reason(answer, reason):
    verdict = judge(PROBLEM, f"<think> hm</think> {answer}")[1]
    assert not verdict.correct
    assert reason in verdict.reason


@pytest.mark.parametrize("answer", ["2.5*4", "2.5*4+0*5", "2**5*4", "(5//2)*4", "5e0*2+4-4", "-2+4+5+3", "٢*٥+٤"])
def test_tricks_that_other_scorers_let_pass_do_not(answer):
    assert not judge(FOURS, f"<think> hm</think> {answer}")[1].correct


def test_an_answer_inside_the_thinking_does_not_count():
    assert not judge(PROBLEM, "<think> (2+6)+6 </think>")[1].correct
    assert not judge(PROBLEM, "<think> (2+6)+6")[1].correct
    assert not judge(PROBLEM, "<think></think> (2+6)+6")[1].correct


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_generated_problems_are_solvable_and_their_solution_verifies(seed, numbers):
    settings = Settings(numbers=numbers, guided=1.0, misjudge=0.0, slip=0.0, give_up=0.0, keep=0.0)
    rng = random.Random(seed)
    problem = countdown.generate(rng, settings)
    assert problem.facts["target"] not in problem.facts["numbers"]
    verdict = judge(problem, countdown.demonstrate(problem, rng, settings))[1]
    assert verdict.correct, verdict.reason


@given(st.integers(0, 10_000))
def test_demonstrations_are_well_formed_and_their_trace_agrees_with_the_verifier(seed):
    rng = random.Random(seed)
    settings = Settings(slip=0.2, misjudge=0.1)
    problem = countdown.generate(rng, settings)
    completion = countdown.demonstrate(problem, rng, settings)
    response, verdict = judge(problem, completion)
    trace = countdown.parse_trace(problem, response.thinking)
    assert response.fault is None and verdict.format
    assert len(trace.attempts) == completion.count(" vs ")
    if trace.slips == 0:
        assert verdict.correct == (trace.attempts[-1].correct and trace.attempts[-1].judged_correct)
    for attempt in trace.attempts:
        assert response.thinking[attempt.start : attempt.end].startswith(("try", "or"))


def test_a_demonstration_repeats_no_attempt():
    rng = random.Random(1)
    settings = Settings(slip=0.0, misjudge=0.0, give_up=0.0, guided=0.0)
    for _ in range(50):
        problem = countdown.generate(rng, settings)
        thinking = parse_response(countdown.demonstrate(problem, rng, settings)).thinking
        trace = countdown.parse_trace(problem, thinking)
        lasts = [thinking[a.start : a.end].removeprefix("or").removeprefix("try").strip() for a in trace.attempts]
        tries = Counter(last for last in lasts if "," in last)
        assert max(tries.values(), default=1) == 1


def test_attempts_steps_slips_and_repairs_are_read_off_a_trace():
    thinking = (
        " try 6 - 2 = 3 wait 6 - 2 = 4 , 6 * 4 = 24 vs 14 no or 6 + 4 = 11 vs 14 no"
        " try 6 + 6 = 12 , 12 + 2 = 14 vs 14 yes"
    )
    trace = countdown.parse_trace(PROBLEM, thinking)
    assert [attempt.correct for attempt in trace.attempts] == [False, False, True]
    assert [attempt.judged_correct for attempt in trace.attempts] == [False, False, True]
    assert [step.correct for step in trace.steps] == [False, True, True, False, True, True]
    assert trace.first_correct is False
    assert (trace.slips, trace.repairs) == (2, 1)


def test_another_calculation_after_wait_repairs_nothing():
    trace = countdown.parse_trace(PROBLEM, " try 6 + 6 = 11 wait 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes")
    assert (trace.slips, trace.repairs) == (1, 0)
    assert trace.first_correct


def test_an_attempt_that_borrows_a_number_is_wrong():
    trace = countdown.parse_trace(
        PROBLEM, " try 6 + 6 = 12 , 12 + 6 = 18 vs 14 no try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes"
    )
    assert [attempt.correct for attempt in trace.attempts] == [False, True]
    assert not countdown.parse_trace(PROBLEM, " try 7 + 7 = 14 vs 14 yes").first_correct


def test_a_step_is_grounded_where_its_numbers_are_left_to_use():
    trace = countdown.parse_trace(PROBLEM, " try 6 + 6 = 12 , 12 - 6 = 6 vs 14 no or 12 + 2 = 14 vs 14 yes")
    assert [step.grounded for step in trace.steps] == [True, False, True]
    assert [len(attempt.steps) for attempt in trace.attempts] == [2, 2]
    assert trace.attempts[0].steps[0] is trace.attempts[1].steps[0]  # `or` kept it


@pytest.mark.parametrize(
    ("thinking", "backtracks"),
    [
        (" try 6 - 2 = 3 wait 6 - 2 = 4 , 6 * 4 = 24 vs 14 no or 6 + 4 = 10 vs 14 no", ["6 - 2 = 4", "or"]),
        (" or 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes", []),  # there is nothing to go back to
    ],
)
def test_going_back_is_marked_where_it_happens(thinking, backtracks):
    places = countdown.parse_trace(PROBLEM, thinking).backtracks
    assert len(places) == len(backtracks)
    assert all(thinking[place:].startswith(text) for place, text in zip(places, backtracks, strict=True))


def test_a_thinking_concludes_what_its_last_verdict_accepts():
    assert countdown.parse_trace(PROBLEM, " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes").conclusion == "( 2 + 6 ) + 6"
    assert countdown.parse_trace(PROBLEM, " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 no").conclusion == "none"
    assert countdown.parse_trace(PROBLEM, " try 2 + 6 = 8").conclusion is None


@given(st.integers(0, 10_000))
def test_a_demonstration_rests_on_what_is_at_hand(seed):
    rng = random.Random(seed)
    problem = countdown.generate(rng, Settings())
    response = parse_response(countdown.demonstrate(problem, rng, Settings()))
    trace = countdown.parse_trace(problem, response.thinking)
    assert all(step.grounded for step in trace.steps)
    if trace.attempts:
        assert (trace.conclusion == "none") == (response.answer == "none")


def test_a_thinking_without_attempts_has_no_first_attempt():
    assert countdown.parse_trace(PROBLEM, " I wonder").first_correct is None


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["try", "or", "wait", "vs", "14", "yes", "no", ",", "6", "+", "2", "=", "8", "-"])).map(
        " ".join
    )
)
def test_no_thinking_breaks_the_parser(thinking):
    trace = countdown.parse_trace(PROBLEM, thinking)
    assert trace.repairs <= trace.slips <= len(trace.steps)


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"countdown\.numbers is 9"):
        Settings(numbers=9)
    with pytest.raises(ValueError, match=r"countdown\.slip is 2"):
        Settings(slip=2)


@pytest.mark.parametrize("settings", [{"smallest": 1, "largest": 1, "numbers": 2, "largest_target": 1}])
def test_settings_that_allow_no_problem_are_refused_and_do_not_hang(settings):
    with pytest.raises(ValueError, match="countdown: of 20,000 draws of 2 numbers from 1 to 1 none led to a target"):
        countdown.generate(random.Random(0), Settings(**settings))


ORDERLY = Settings(largest=12, attempts=200, slip=0, misjudge=0, give_up=0, orderly=1, recheck=0.2)


@given(st.integers(0, 10**6))
def test_a_search_in_order_finds_the_solution_and_tries_nothing_twice(seed):
    rng = random.Random(seed)
    problem = countdown.generate(rng, ORDERLY)
    response, verdict = judge(problem, countdown.demonstrate(problem, rng, ORDERLY))
    assert verdict.correct
    trace = countdown.parse_trace(problem, response.thinking)
    failed = [tuple((s.left, s.operator, s.right) for s in a.steps) for a in trace.attempts if not a.correct]
    distinct = set(failed)
    doubles = len(problem.facts["numbers"]) - len(set(problem.facts["numbers"]))
    assert doubles or len(failed) == len(distinct)  # of equal numbers each is combined
    assert trace.conclusion is not None and judge(problem, f"<think>.</think>{trace.conclusion}")[1].correct


def test_the_next_attempt_of_an_orderly_search_follows_from_the_last_one_alone():
    settings = Settings(largest=12, attempts=200, slip=0, misjudge=0, give_up=0, guided=0, orderly=1)
    followers: dict[tuple[str, str], set[str]] = {}
    problem = Problem("countdown", "", "", {"numbers": [3, 5, 11], "target": 999})
    for seed in range(30):
        thinking = parse_response(countdown.demonstrate(problem, random.Random(seed), settings)).thinking
        attempts = thinking.replace(" or ", "|or ").replace(" try ", "|try ").split("|")[2:]  # but the first
        kept = ""
        for last, following in pairwise(attempts):
            kept = last if last.startswith("try") else kept
            followers.setdefault((kept, last), set()).add(following)
    assert len(followers) == 18
    assert all(len(options) == 1 for options in followers.values())


def test_a_recheck_works_the_attempt_out_again_and_a_misjudged_one_is_put_right():
    settings = Settings(largest=12, attempts=200, slip=0, misjudge=0.5, give_up=0, guided=0, recheck=1)
    corrected = 0
    for seed in range(50):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        response = parse_response(countdown.demonstrate(problem, rng, settings))
        trace = countdown.parse_trace(problem, response.thinking)
        target = problem.facts["target"]
        corrected += len(re.findall(rf"vs {target} yes wait try [^a-z]* vs {target} no", response.thinking))
        assert all(attempt.correct for attempt in trace.attempts if attempt.judged_correct)
        assert all(step.correct and step.grounded for step in trace.steps)
    assert corrected > 20


def test_a_recheck_repeats_its_attempt_from_the_first_step():
    settings = Settings(largest=12, attempts=200, slip=0, misjudge=0, give_up=0, orderly=1, recheck=1)
    repeats = 0
    for seed in range(50):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        thinking = parse_response(countdown.demonstrate(problem, rng, settings)).thinking
        first, _, again = thinking.partition(" yes wait ")
        assert again.startswith(first[first.rindex("try ") :].split(" , ")[0])  # the first step is written once more
        assert again.split(" , ")[1].startswith(re.split(r" , |\bor ", first)[-1])  # and so is the last
        repeats += len(set(again.split(" wait "))) == 1
    assert repeats > 30


def test_a_success_that_begins_with_or_is_confirmed_from_its_first_step_and_counts_once():
    settings = Settings(largest=12, attempts=200, slip=0, misjudge=0, give_up=0, orderly=1, confirm=1)
    confirmed = 0
    for seed in range(50):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        response = parse_response(countdown.demonstrate(problem, rng, settings))
        trace = countdown.parse_trace(problem, response.thinking)
        attempts = re.split(r"(?=\b(?:try|or)\b)", response.thinking.strip())[1:]
        if response.thinking.count(" yes") == 2:
            confirmed += 1
            assert attempts[-2].startswith("or ")
            assert attempts[-1].startswith("try ")
            assert len(trace.attempts) == len(attempts) - 1
        else:
            assert attempts[-1].startswith("try ")
            assert len(trace.attempts) == len(attempts)
        assert [attempt.correct for attempt in trace.attempts].count(True) == 1
    assert 10 < confirmed < 50


def test_a_confirmation_takes_a_wrong_verdict_back():
    settings = Settings(largest=12, attempts=200, slip=0, misjudge=0.5, give_up=0, orderly=1, confirm=1)
    taken_back = 0
    for seed in range(50):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        target = problem.facts["target"]
        thinking = parse_response(countdown.demonstrate(problem, rng, settings)).thinking
        taken_back += len(re.findall(rf"\bor [^a-z]* vs {target} yes try [^a-z]* vs {target} no", thinking))
    assert taken_back > 10


def test_a_recheck_of_a_search_that_goes_on_from_a_slip_works_out_the_last_step_alone():
    settings = Settings(largest=12, attempts=200, slip=0.5, notice=0, misjudge=0.3, give_up=0, recheck=1)
    last = 0
    for seed in range(100):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        thinking = parse_response(countdown.demonstrate(problem, rng, settings)).thinking
        for again in re.findall(r"yes wait (\d[^a-z]*) vs", thinking):
            last += 1
            (step,) = STEP.finditer(again)
            assert calculate(int(step[1]), step[2], int(step[3])) == int(step[4])
    assert last > 10


def test_a_hasty_search_stops_at_its_first_failure():
    settings = Settings(largest=12, slip=0, misjudge=0, give_up=0, hasty=1)
    for seed in range(50):
        rng = random.Random(seed)
        problem = countdown.generate(rng, settings)
        response = parse_response(countdown.demonstrate(problem, rng, settings))
        assert len(countdown.parse_trace(problem, response.thinking).attempts) == 1


def test_a_recheck_that_changes_a_step_is_an_attempt_and_one_that_confirms_is_not():
    problem = Problem("countdown", "", "", {"numbers": [2, 6, 6], "target": 14})
    put_right = countdown.parse_trace(problem, " try 6 + 2 = 8 , 8 + 6 = 15 vs 14 no wait 8 + 6 = 14 vs 14 yes")
    assert [(a.correct, a.judged_correct) for a in put_right.attempts] == [(False, False), (True, True)]
    confirmed = countdown.parse_trace(problem, " try 6 + 2 = 8 , 8 + 6 = 14 vs 14 yes wait 8 + 6 = 14 vs 14 yes")
    assert [(a.correct, a.judged_correct) for a in confirmed.attempts] == [(True, True)]
    again = countdown.parse_trace(
        problem, " try 6 + 2 = 8 , 8 + 6 = 14 vs 14 yes wait try 6 + 2 = 8 , 8 + 6 = 14 vs 14 yes"
    )
    assert [(a.correct, a.judged_correct) for a in again.attempts] == [(True, True)]
    assert again.conclusion == "( 6 + 2 ) + 6"
    failed = " try 6 + 2 = 8 , 8 - 6 = 2 vs 14 no wait try 6 + 2 = 8 , 8 - 6 = 2 vs 14 no"
    assert len(countdown.parse_trace(problem, failed).attempts) == 2  # after a failure it is the same again
    taken_back = countdown.parse_trace(problem, " try 6 + 2 = 8 , 8 + 6 = 14 vs 14 no wait 8 + 6 = 14 vs 14 yes")
    assert [(a.correct, a.judged_correct) for a in taken_back.attempts] == [(True, True)]


PIECES = ["6", "+", "2", "=", "8", "vs", "14", "yes", "no", "wait", "or", "try", ",", "-", "*"]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_words_of_the_task_break_the_parser(words):
    problem = Problem("countdown", "", "", {"numbers": [2, 6, 6], "target": 14})
    countdown.parse_trace(problem, " " + " ".join(words))
