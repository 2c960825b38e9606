"""Planted overlaps are found and named, and what merely shares its wording is not flagged."""

import random
import string

import pytest

from data.contamination import COMMON, N, overlaps
from data.mixture import draw_problems, held_out, load_mixture
from data.problem import Problem

STORY = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)


def written(prompt: str, task: str = "math") -> Problem:
    return Problem(task, prompt, prompt, {})


def noise(count: int, length: int = 30, seed: int = 0) -> list[Problem]:
    """Problems of random words: no two have an n-gram in common."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(20_000)]
    return [written(" ".join(rng.choices(words, k=length))) for _ in range(count)]


def test_unrelated_problems_do_not_overlap():
    assert overlaps(noise(300), noise(100, seed=1), ()) == []


def test_a_copy_is_found_and_its_original_named():
    planted = written(STORY)
    copy = written(f"  {STORY.upper().replace(' ', '   ')} ", "other")
    (found,) = overlaps([*noise(300), planted], [*noise(100, seed=1), copy], ())
    assert (found.share, found.held_out, found.trained) == (1.0, copy, planted)


def test_short_problems_are_held_against_each_other_whole():
    assert not overlaps([written("What is 7 * 8?")], [written("What is 7 * 9?")], ())
    assert overlaps([written("What is 7 * 8?")], [written("what is 7*8 ?")], ())


def test_the_same_content_in_other_words_is_found():
    trained, held = Problem("a", "Add 2 and 3.", "2 + 3", {}), Problem("b", "2 plus 3?", "2 + 3", {})
    assert overlaps([trained], [held], ("a", "b"))[0].share == 1


@pytest.mark.parametrize(("kept", "flagged"), [(0.9, True), (0.6, True), (0.4, False), (0.2, False)])
def test_half_of_a_problem_is_the_limit(kept, flagged):
    planted, other = noise(2, length=200, seed=5)
    words = planted.prompt.split()
    cut = int(kept * len(words))
    mixed = written(" ".join(words[:cut] + other.prompt.split()[cut:]))
    found = overlaps([*noise(50), planted], [mixed], ())
    assert bool(found) == flagged
    if found:
        assert found[0].trained == planted and found[0].share == pytest.approx(kept, abs=0.05)


def test_other_numbers_in_a_story_are_another_problem_only_where_little_else_is_left():
    assert overlaps([written(STORY)], [written(STORY.replace("48", "52"))], ())
    assert not overlaps([written(STORY)], [written(STORY.replace("clips", "pins").replace("April", "June"))], ())


def test_wording_that_many_problems_share_is_not_content():
    def asked(numbers):
        return written(f"Read the list below with care and then give back the largest of its numbers : {numbers}")

    rng = random.Random(0)
    lists = [" ".join(str(rng.randrange(10**6)) for _ in range(20)) for _ in range(2 * COMMON)]
    trained, held = [asked(text) for text in lists[:COMMON]], [asked(text) for text in lists[COMMON:]]
    assert overlaps(trained, held, ()) == []
    (found,) = overlaps([*trained, asked(lists[-1] + " 7")], held, ())
    assert found.held_out == held[-1] and found.share > 0.9


def test_problems_of_one_procedural_task_are_told_apart_by_content():
    trained = [written("compute 12 + 7 * 3 - 4 + 5 * 6 - 1", "arithmetic")]
    near = written("compute 12 + 7 * 3 - 4 + 5 * 6 - 2", "arithmetic")
    assert not overlaps(trained, [near], ("arithmetic",))
    assert overlaps(trained, [near], ())
    assert overlaps(trained, [written(near.prompt, "math")], ("arithmetic",))  # of another source


def test_the_worst_come_first():
    planted = noise(2, length=100, seed=5)
    half = written(" ".join(planted[0].prompt.split()[:70]) + " " + noise(1, 30, seed=9)[0].prompt)
    found = overlaps(planted, [half, written(planted[1].prompt)], ())
    assert [overlap.share for overlap in found] == sorted((overlap.share for overlap in found), reverse=True)
    assert found[0].trained == planted[1] and len(found) == 2


def test_our_own_tasks_do_not_flag_each_other():
    parts = load_mixture({"countdown": {"largest": 9}, "arithmetic": {"digits": 2, "terms": 4}})
    trained = draw_problems(parts, "train", 1500, 0, order=3)
    for split in ("validation", "test"):
        assert overlaps(trained, held_out(parts, split, 0, 150), ("countdown", "arithmetic")) == []


def test_fewer_tokens_than_an_n_gram_are_no_trouble():
    assert overlaps([], [], ()) == []
    assert overlaps([written("a " * (N - 1))], [written("b")], ()) == []
