import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.curriculum import BAND, EXPLORED, WINDOWS, Curriculum, in_band, look
from data.mixture import draw_problems, load_mixture
from data.problem import Problem


def problem(prompt, task="countdown"):
    return Problem(task, prompt, prompt, {})


class School:
    """A curriculum whose problems, of one task and each of its own look, have the given success rates."""

    def __init__(self, *rates):
        self.rates = rates
        words = [chr(ord("a") + number // 26) + chr(ord("a") + number % 26) for number in range(len(rates))]
        self.curriculum = Curriculum([problem(word) for word in words])

    def ask(self, count, rollouts=16):
        chosen = self.curriculum.next(count)
        for number in chosen:
            self.curriculum.record(number, round(self.rates[number] * rollouts), rollouts)
        return chosen

    def ask_all(self, times=3):
        for _ in range(times):
            for number, rate in enumerate(self.rates):
                self.curriculum.record(number, round(rate * 16), 16)
        return self


def test_problems_look_alike_whose_words_and_lengths_of_numbers_are_the_same():
    same = look(problem("numbers 2 6 8 target 14"))
    assert look(problem("numbers 9 1 3 1 target 40")) == same
    assert look(problem("numbers 2 6 8 target 4")) != same
    assert look(problem("numbers 2 6 8 target 14", "other")) != same
    assert look(problem("compute 1 + 2 * 3")) == look(problem("compute 9 * 2 + 1")) != look(problem("compute 1 + 2"))


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


def test_what_is_in_the_band_comes_first_and_a_share_of_the_others():
    school = School(*[0.0] * 40, *[0.5] * 40, *[1.0] * 40).ask_all()
    chosen = [number for _ in range(6) for number in school.ask(10)]
    middling = [number for number in chosen if 40 <= number < 80]
    others = [number for number in chosen if not 40 <= number < 80]
    assert others == [0, 1, 2, 3, 4, 5] and len(chosen) == 60  # EXPLORED, in the order in which they wait
    assert middling[:40] == list(range(40, 80)) and middling[40:] == list(range(40, 54))  # in turn


def test_half_of_what_is_asked_was_found_in_the_band_before():
    school = School(*[0.5] * 100)
    first, second, third = school.ask(10), school.ask(10), school.ask(10)
    assert first == list(range(10))
    assert second == [*range(5), *range(10, 15)]
    assert third == [*range(5, 10), *range(15, 20)]


def test_a_problem_that_leaves_the_band_is_kept_no_longer():
    school = School(*[0.5] * 100)
    school.ask(10)
    assert list(school.curriculum.kept) == list(range(10))
    for _ in range(2):
        school.curriculum.record(3, 16, 16)
    assert 3 not in school.curriculum.kept and list(school.curriculum.others)[-1] == 3


def test_where_the_band_is_too_small_the_nearest_fill_up():
    school = School(0.0, 0.05, 0.5, 0.9, 1.0).ask_all()
    assert school.ask(3) == [2, 3, 1]


def test_no_problem_waits_for_ever():
    school = School(*[0.0] * 30, *[0.5] * 30).ask_all()
    rounds = round(30 / (EXPLORED * 4)) + 10
    assert {number for _ in range(rounds) for number in school.ask(4)} == set(range(60))


def test_every_task_is_asked_as_often_as_its_share_of_the_problems_says():
    """However hopeless it is, and however well the others do."""
    problems = [problem(f"a{number}", "hard" if number % 4 == 0 else "easy") for number in range(400)]
    made, asked = Curriculum(problems), []
    for count in (1, 2, 3, 16) * 10:
        chosen = made.next(count)
        asked += [problems[number].task for number in chosen]
        for number in chosen:
            made.record(number, 8 if problems[number].task == "easy" else 0, 16)
    assert len(asked) == 220 and asked.count("hard") == 55


def test_a_task_that_has_no_more_leaves_its_places_to_the_others():
    made = Curriculum([problem("a", "one"), problem("b", "other"), problem("c", "other")])
    assert sorted(made.next(3)) == [0, 1, 2]
    assert made.next(2, exclude=[0]) == [1, 2]


def test_a_step_asks_no_prompt_twice():
    made = Curriculum([problem("a"), problem("b"), problem("a"), problem("c"), problem("b")])
    assert made.next(2) == [0, 1]
    assert made.next(5, exclude=[0, 1]) == [3]
    assert made.next(9) == [0, 1, 3]
    made.record(0, 8, 16)
    made.record(1, 8, 16)
    assert made.next(9) == [0, 1, 3] and made.next(9, exclude=[2]) == [1, 3]


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
        for number in chosen:
            made.record(number, problems[number][1], 4)
        assert sorted([*made.kept, *made.others]) == list(range(len(problems)))


def test_a_state_is_not_changed_by_what_happens_after():
    school = School(0.0, 0.5, 1.0).ask_all()
    state = school.curriculum.state_dict()
    before = json.dumps(state)
    school.ask(2)
    assert json.dumps(state) == before


def test_the_share_in_the_band_is_over_all_problems():
    assert School(0.0, 0.5, 0.6, 1.0).ask_all().curriculum.share_in_band() == 0.5


@pytest.mark.parametrize(("rate", "inside"), [(BAND[0], True), (BAND[1], True), (0.19, False), (0.81, False)])
def test_the_bounds_belong_to_the_band(rate, inside):
    assert in_band(rate) is inside


def test_a_curriculum_finds_the_problems_worth_asking_in_a_real_mixture():
    """Problems with a product are never solved, sums half of the time: after some steps few products are asked."""
    problems = draw_problems(load_mixture({"arithmetic": {}}), "train", 400, 0)
    hopeless = ["*" in one.prompt for one in problems]
    made = Curriculum(problems)
    shares = []
    for _ in range(12):
        chosen = made.next(16)
        for number in chosen:
            made.record(number, 0 if hopeless[number] else 8, 16)
        shares.append(sum(hopeless[number] for number in chosen) / len(chosen))
    assert sum(hopeless) / len(hopeless) > 0.6
    assert shares[0] > 0.5 and sum(shares[-4:]) / 4 < 0.25
