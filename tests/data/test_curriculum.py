import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.curriculum import BAND, EXPLORED, WINDOWS, Curriculum, in_band, look
from data.mixture import draw_problems, load_mixture
from data.problem import Problem


def problem(prompt, task="countdown"):
    return Problem(task, prompt, prompt, {})


def curriculum(*rates, ask=16):
    """One problem of each success rate, no two alike, all of them asked some times."""
    made = Curriculum([problem(f"{'word ' * number}", f"task {number}") for number in range(len(rates))])
    for number, rate in enumerate(rates):
        for _ in range(4):
            made.record(number, round(rate * ask), ask)
    return made


def test_problems_look_alike_where_only_digits_differ():
    assert look(problem("numbers 2 6 8 target 14")) == look(problem("numbers 1 1 3 target 40"))
    assert look(problem("numbers 2 6 8 target 14")) != look(problem("numbers 2 6 8 target 4"))
    assert look(problem("compute 1 + 2")) != look(problem("compute 1 * 2"))
    assert look(problem("compute 1 + 2")) != look(problem("compute 1 + 2", "other"))


def test_a_problem_never_asked_is_expected_to_be_like_its_kin():
    made = Curriculum([problem("add 1 2"), problem("add 3 4"), problem("multiply 1 2"), problem("9", "other")])
    assert [made.estimate(number) for number in range(4)] == [0.5] * 4
    made.record(0, 0, 16)
    own, alike, same_task, other = (made.estimate(number) for number in range(4))
    assert own < alike < same_task < other == 0.5


def test_what_a_problem_does_itself_outweighs_its_kin():
    made = Curriculum([problem("add 1 2"), problem("add 3 4")])
    for _ in range(40):
        made.record(0, 0, 16)
    for _ in range(4):
        made.record(1, 16, 16)
    assert made.estimate(0) < 0.1 and made.estimate(1) > 0.7


def test_success_rates_follow_the_latest_rollouts():
    made = Curriculum([problem("add 1 2")])
    for _ in range(100):
        made.record(0, 0, 16)
    for _ in range(WINDOWS[0] // 16):
        made.record(0, 16, 16)
    assert made.estimate(0) > 0.9
    assert all(seen == window for (_, seen), window in zip(made.rates.counts.values(), WINDOWS, strict=True))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 16), st.integers(1, 600)), max_size=40))
def test_an_estimate_is_a_probability_and_rises_with_success(history):
    made = Curriculum([problem(f"add {number}") for number in range(4)])
    for number, successes, rollouts in history:
        made.record(number, min(successes, rollouts), rollouts)
    before = made.estimate(0)
    assert 0 < before < 1
    made.record(0, 16, 16)
    assert made.estimate(0) > before


def test_the_band_comes_first_and_a_share_of_the_others():
    made = curriculum(*[0.0] * 40, *[0.5] * 40, *[1.0] * 40)
    chosen = [number for _ in range(4) for number in made.next(10)]
    middling = [number for number in chosen if 40 <= number < 80]
    assert len(chosen) - len(middling) == round(EXPLORED * 40)
    assert middling == list(range(40, 40 + len(middling)))  # in the order in which they wait


def test_where_the_band_is_too_small_the_nearest_fill_up():
    made = curriculum(0.0, 0.05, 0.5, 0.9, 1.0)
    assert made.next(3) == [2, 3, 1]
    assert not in_band(made.estimate(3)) and not in_band(made.estimate(1))


def test_no_problem_waits_for_ever():
    made = curriculum(*[0.0] * 30, *[0.5] * 30)
    asked = Counter(number for _ in range(2 * 30 * 10 // 4) for number in made.next(4))
    assert asked.keys() == set(range(60))


def test_a_step_asks_no_prompt_twice():
    made = Curriculum([problem("a"), problem("b"), problem("a"), problem("c"), problem("b")])
    assert made.next(2) == [0, 1]
    assert made.next(5, asked=[0, 1]) == [3]
    assert made.next(9) == [2, 4, 3]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0, 2, 4])), min_size=1, max_size=20),
    st.lists(st.integers(1, 6), max_size=20),
)
def test_what_is_next_is_a_function_of_the_saved_state(problems, counts):
    """A second curriculum, given the state of the first before every call, chooses the same."""
    made = Curriculum([problem(letter, str(outcome)) for letter, outcome in problems])
    for count in counts:
        twin = Curriculum([problem(letter, str(outcome)) for letter, outcome in problems])
        twin.load_state_dict(json.loads(json.dumps(made.state_dict())))
        chosen = made.next(count)
        assert chosen == twin.next(count)
        assert len(chosen) == min(count, len({letter for letter, _ in problems}))
        assert sorted(made.queue) == list(range(len(problems)))
        for number in chosen:
            made.record(number, problems[number][1], 4)


def test_a_state_is_not_changed_by_what_happens_after():
    made = curriculum(0.0, 0.5, 1.0)
    state = made.state_dict()
    before = json.dumps(state)
    made.next(2)
    made.record(0, 4, 4)
    assert json.dumps(state) == before


def test_the_share_in_the_band_is_over_all_problems():
    assert curriculum(0.0, 0.5, 0.6, 1.0).share_in_band() == 0.5


@pytest.mark.parametrize(("rate", "inside"), [(BAND[0], True), (BAND[1], True), (0.19, False), (0.81, False)])
def test_the_bounds_belong_to_the_band(rate, inside):
    assert in_band(rate) is inside


def test_it_finds_the_problems_worth_asking_in_a_real_mixture():
    """Products are never solved, sums half of the time: after some steps hardly a product is asked."""
    problems = draw_problems(load_mixture({"arithmetic": {"products": 0.5}}), "train", 400, 0)
    made = Curriculum(problems)
    shares = []
    for _ in range(20):
        chosen = made.next(16)
        product = ["*" in look(problems[number]).split()[3:4] for number in chosen]
        for number, hopeless in zip(chosen, product, strict=True):
            made.record(number, 0 if hopeless else 8, 16)
        shares.append(sum(product) / len(product))
    assert shares[0] > 0.3 and sum(shares[-5:]) / 5 < 0.2
