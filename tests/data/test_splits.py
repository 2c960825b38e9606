"""Fixed sets: which split each of their problems belongs to."""

from dataclasses import dataclass, field

import pytest

from data import mixture
from data.mixture import Part, draw_problems
from data.problem import Problem, Verdict
from data.settings import read_settings
from data.splits import problems_of, split_of
from data.task import NoSettings, Task
from data.tasks import TASKS


def numbered(*numbers: int) -> list[Problem]:
    return [Problem("set", f"{n}?", f"number {n}", {"n": n}) for n in numbers]


def contents(given, seed=0):
    return {split: [p.facts["n"] for p in problems_of(given, split, seed)] for split in ("train", "validation", "test")}


def test_a_set_without_splits_is_split_by_content_alone():
    found = contents({"train": numbered(*range(400))})
    assert sorted(n for split in found.values() for n in split) == list(range(400))
    assert all(split_of(f"number {n}", 0) == split for split, numbers in found.items() for n in numbers)
    assert contents({"train": numbered(*reversed(range(400)))})["test"] == found["test"][::-1]


def test_a_test_split_of_its_own_is_kept_and_validation_is_taken_out_of_train():
    found = contents({"train": numbered(*range(400)), "test": numbered(*range(1000, 1010))})
    assert found["test"] == list(range(1000, 1010))
    assert found["train"] and found["validation"]
    assert sorted(found["train"] + found["validation"]) == list(range(400))


def test_what_a_set_repeats_in_its_train_stays_held_out():
    found = contents({"train": numbered(1, 2, 3, 3), "validation": numbered(2, 1), "test": numbered(1)})
    assert found == {"train": [3], "validation": [2], "test": [1]}


@pytest.fixture
def a_set(monkeypatch):
    reads = []

    def problems(settings):
        reads.append(settings)
        return {"train": numbered(*range(50)), "test": numbered(*range(100, 105))}

    def verify(problem, answer):
        return Verdict(answer == str(problem.facts["n"]), True, "")

    monkeypatch.setattr(mixture, "_READ", {})
    monkeypatch.setattr(mixture, "_DRAWN", {})
    monkeypatch.setitem(TASKS, "set", Task(name="set", problems=problems, verify=verify))
    return reads


def test_a_fixed_set_is_drawn_by_order_and_read_once(a_set):
    parts = [Part("set", 1.0, NoSettings())]
    first = draw_problems(parts, "train", 10, 0)
    assert first == draw_problems(parts, "train", 10, 0) != draw_problems(parts, "train", 10, 0, order=1)
    assert len({problem.canonical for problem in first}) == 10
    assert len(draw_problems(parts, "train", 200, 0)) == 200  # passed over again
    assert len(draw_problems(parts, "test", 9, 0, at_most=True)) == 5
    with pytest.raises(ValueError, match="only 5 distinct test problems"):
        draw_problems(parts, "test", 9, 0)
    assert len(a_set) == 1


@dataclass(frozen=True)
class Columns:
    path: str
    columns: dict[str, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = (1,)
    limit: int | None = None
    share: float = 0.5


def test_settings_take_the_types_that_they_declare():
    read = read_settings("tasks.set", Columns, {"path": "a", "columns": {"q": "r"}, "sizes": [1, 2], "limit": None})
    assert read == Columns("a", {"q": "r"}, (1, 2), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"tasks\.set\.path is missing; expected a text"),
        ({"path": 3}, r"tasks\.set\.path is 3; expected a text"),
        ({"path": "a", "columns": {"q": 1}}, "expected a mapping of a text to a text"),
        ({"path": "a", "sizes": [1, "2"]}, "expected a list, each a whole number"),
        ({"path": "a", "limit": True}, "expected a whole number or null"),
        ({"path": "a", "share": "much"}, "expected a number"),
        ({"path": "a", "pth": "b"}, r"Unknown setting tasks\.set\.pth; expected one of: weight, path, columns"),
    ],
)
def test_settings_that_do_not_fit_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        read_settings("tasks.set", Columns, given)
