"""A task of the user's own: a module that the config names, trained on like any other."""

import sys
from pathlib import Path

import pytest

from data.mixture import demonstrations, draw_problems, judge, load_mixture
from data.problem import Problem
from data.tasks import get_task, own

PRIMES = str(Path(__file__).parents[2] / "support" / "own_task.py")
VERIFY = "def verify(problem, answer): return Verdict(False, True, '')\n"
GENERATE = "def generate(rng, settings): return Problem('x', 'p', 'c', {})\n"
IMPORTS = "from data.problem import Problem, Verdict\n"


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(own, "LOADED", {})
    monkeypatch.setattr(own, "_TRIED", set())


def test_its_problems_are_drawn_judged_and_split_like_any_others():
    parts = load_mixture({PRIMES: {"weight": 3}, "countdown": {}})
    drawn = draw_problems(parts, "train", 80, 0)
    primes = [problem for problem in drawn if problem.task == PRIMES]
    assert len(primes) == 60
    assert not {p.canonical for p in primes} & {p.canonical for p in draw_problems(parts, "test", 80, 0)}
    seven = Problem(PRIMES, "is 7 prime", "prime 7", {"number": 7})
    assert judge(seven, "<think>a</think>yes")[1].correct
    assert not judge(seven, "<think>a</think>no")[1].correct


def test_a_dotted_name_finds_a_module_of_the_folder_that_one_works_in(tmp_path, monkeypatch):
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks" / "ones.py").write_text(IMPORTS + GENERATE + VERIFY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_mixture({"my_tasks.ones": None})[0].task == "my_tasks.ones"


def test_what_data_names_is_never_imported(tmp_path):
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + IMPORTS + GENERATE + VERIFY)
    with pytest.raises(ValueError, match="Unknown task"):
        get_task(str(path))
    verdict = judge(Problem(str(path), "p", "c", {}), "<think>a</think>1")[1]
    assert "Unknown task" in verdict.error and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (GENERATE, "has no verify"),
        (VERIFY, "has neither of generate"),
        (VERIFY + GENERATE + "def problems(settings): return {}\n", "has both of generate"),
        (VERIFY + GENERATE + "class Settings: pass\n", "Settings of the task module .* is not a dataclass"),
        (VERIFY + GENERATE.replace("{}", "{'a': {1, 2}}"), "fails on its first problem: TypeError"),
        (VERIFY + GENERATE.replace("{}", "{1: 2}"), "whose facts are plain JSON"),
        (VERIFY + "def generate(rng, settings): return 'what?'\n", "gives 'what\\?'; expected a data.problem.Problem"),
        (GENERATE + "def verify(problem, answer): return True\n", "gives True; expected a data.problem.Verdict"),
        (GENERATE + "def verify(problem, answer): return 1 / 0\n", "fails on its first problem: ZeroDivisionError"),
        ("import no_such_package\n", "cannot be imported: ModuleNotFoundError"),
        ("def (\n", "cannot be imported: SyntaxError"),
    ],
)
def test_a_module_that_is_no_task_is_refused_with_what_it_lacks(tmp_path, source, message):
    path = tmp_path / "mine.py"
    path.write_text(IMPORTS + source)
    with pytest.raises(ValueError, match=message):
        load_mixture({str(path): {}})


@pytest.mark.parametrize("name", ["./no_such.py", "no_such_package.task", "data.no_such_task"])
def test_a_module_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=r"does not exist|There is no task module"):
        load_mixture({name: {}})


def test_without_demonstrations_there_is_nothing_to_imitate():
    with pytest.raises(ValueError, match="has no demonstrations"):
        demonstrations(load_mixture({PRIMES: {}}), 4, 0)
