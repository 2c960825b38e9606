import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import mixture
from data.fixed_sets.fixed_set import Fault
from data.mixture import draw_problems, judge, load_mixture, side_by_side
from data.problem import Problem
from data.sandbox import jail, trial
from data.tasks import code
from data.tasks.code import Settings, called, problem_of, program_of

EXAMPLES = Path("configs/examples/functions.jsonl")
ROWS = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]


@pytest.fixture(autouse=True)
def unchosen(monkeypatch):
    """No sandbox was chosen before a test, and no set read."""
    monkeypatch.setattr(code, "_kind", None)
    monkeypatch.setattr(mixture, "_READ", {})


@pytest.fixture
def walled():
    try:
        return jail.choose("auto")
    except ValueError as refusal:
        pytest.skip(str(refusal))


@pytest.fixture
def unwalled(monkeypatch):
    """Takes every machine for one with a sandbox; nothing is run in it."""
    monkeypatch.setattr(jail, "choose", lambda choice: "bubblewrap")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def solved(row, text=None):
    return f"<think>Hm.</think> Here it is:\n```python\n{text or row['solution']}```"


def test_the_example_solutions_are_right_and_what_is_not_is_wrong(walled):
    assert len(ROWS) >= 20
    parts = load_mixture({"code": {"source": str(EXAMPLES)}})
    asked = {problem.prompt.splitlines()[0]: problem for problem in draw_problems(parts, "train", 60, 0)}
    rows = [row for row in ROWS if row["question"] in asked][:8]
    problems = [asked[row["question"]] for row in rows]
    verdicts = side_by_side(judge, problems, [solved(row) for row in rows])
    assert [verdict.correct for _, verdict in verdicts] == [True] * 8
    wrong = [
        solved(row, f"def {problem.facts['names'][0]}(*_): return 7\n")
        for row, problem in zip(rows, problems, strict=True)
    ]
    assert not any(verdict.correct or verdict.error for _, verdict in side_by_side(judge, problems, wrong))


def test_every_example_passes_its_own_tests(walled):
    assert len(code.problems(Settings(source=str(EXAMPLES), solution="solution"))["train"]) == len(ROWS)


def test_a_row_whose_own_solution_fails_is_faulty(walled, tmp_path):
    rows = [ROWS[0], {"question": "?", "tests": ["assert f(1) == 2"], "solution": "def f(x):\n    return x\n"}]
    source = write(tmp_path / "set.jsonl", rows)
    with pytest.raises(ValueError, match="row 2: its own solution: a test fails: assert f\\(1\\) == 2"):
        code.problems(Settings(source=source, solution="solution"))


def test_a_humaneval_row_has_its_context_and_its_check(walled):
    row = {
        "prompt": 'from math import sqrt\n\ndef root(x: float) -> float:\n    """The square root."""\n',
        "entry_point": "root",
        "test": "def check(candidate):\n    assert candidate(4.0) == 2.0\n    assert root(9.0) == 3.0\n",
    }
    settings = Settings(source=".", question="prompt", context="prompt", tests="test", entry="entry_point")
    problem = problem_of(row, settings)
    assert problem.facts["names"] == ["root"]
    for program in ("def root(x):\n    return sqrt(x)\n", "    return sqrt(x)\n"):
        assert judge(problem, f"<think>.</think>```python\n{program}```")[1].correct
    assert not judge(problem, "<think>.</think>```python\ndef root(x):\n    return x\n```")[1].correct


def test_a_mbpp_row_shows_a_test_and_has_its_setup(walled):
    row = {
        "text": "Write a function to sum a list.",
        "test_list": ["assert total([1, 2]) == 3", "assert math.isclose(total([0.1] * 3), 0.3)"],
        "test_setup_code": "import math",
    }
    settings = Settings(source=".", question="text", tests="test_list", setup="test_setup_code")
    problem = problem_of(row, settings)
    assert problem.prompt.endswith("It must pass tests such as:\nassert total([1, 2]) == 3")
    assert "isclose" not in problem.prompt
    assert judge(problem, "<think>.</think> def total(x):\n    return sum(x)")[1].correct


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("assert f(1) == 2", ["f"]),
        ("import math\nassert math.isclose(f(1), g(2))", ["f", "g"]),
        (
            "def check(candidate):\n    for x in range(3):\n        assert candidate(x) == helper(x)\ncheck(f)",
            ["f", "helper"],
        ),
        ("assert len(sorted(f([1]))) == 1", ["f"]),
        ("try:\n    f(1)\nexcept ValueError as error:\n    assert str(error)", ["f"]),
        ("assert 1 == 1", []),
    ],
)
def test_what_tests_call_of_the_answer_is_found_in_them(tests, names):
    assert called(tests) == names


def test_a_program_may_not_stand_in_for_a_builtin(walled):
    problem = problem_of({"question": "?", "tests": ["assert set(f(1)) == set([1, 2])"]}, Settings(source="."))
    program = "def set(x):\n    return 0\ndef f(x):\n    return [3]\n"
    assert problem.facts["names"] == ["f"]
    assert not judge(problem, f"<think>.</think>```python\n{program}```")[1].correct


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\ndef f(): pass\n```", "def f(): pass\n"),
        ("```\ndef f(): pass\n```\nDone.", "def f(): pass\n"),
        ("First:\n```python\ndef f(): return 1\n```\nBetter:\n```py\ndef f(): return 2\n```", "def f(): return 2\n"),
        ("```python\ndef f(): pass\n```\nUse it:\n```python\nprint(1)\n```", "def f(): pass\n"),
        ("```python\ndef f(x): return x\n```\nUsage:\n```python\nprint(f(2))\n```", "def f(x): return x\n"),
        ("```python\nf = abs\n```\nCheck:\n```python\nassert f == abs\n```", "f = abs\n"),
        ("```python\nclass f: pass\n```\n```python\ng = f()\n```", "class f: pass\n"),
        ("```python\ndef f(): pass", "def f(): pass"),
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ("Sure!\nimport math\ndef f(x):\n    return x", "import math\ndef f(x):\n    return x"),
        ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```\n", "def f(x):\n    return x\n"),
        ("- ```python\n  def f(x):\n      return x\n  ```", "def f(x):\n    return x\n"),
        ("\t```\n\tdef f(x):\n\t    return x\n\t```", "def f(x):\n    return x\n"),
        ("```python\n    def f(x):\n        return x\n```", "def f(x):\n    return x\n"),
        ("```python\n  y = 1\n  async def f(x):\n    return y\n```", "y = 1\nasync def f(x):\n  return y\n"),
        ("```python\n    import math\n    return math.pi\n```", "    import math\n    return math.pi\n"),
        ("```python\ndef f(x):\n\treturn x\n```", "def f(x):\n\treturn x\n"),
        ("I cannot.", None),
        ("", None),
    ],
)
def test_the_program_is_found_in_the_answer(answer, program):
    assert program_of(answer, ["f"]) == program


@given(
    st.lists(st.sampled_from(["```", "```python\n", "\n", "def f(): pass", "import ", "x"]) | st.text(max_size=4)).map(
        "".join
    )
)
def test_no_answer_breaks_the_finding_of_its_program(answer):
    program = program_of(answer, ["f"])
    assert program is None or "".join(program.split()) in "".join(answer.split())


def test_an_answer_without_a_program_has_not_the_form(monkeypatch):
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("it was run"))
    problem = problem_of(ROWS[0], Settings(source="."))
    assert judge(problem, "<think>def is_prime(n): return True</think> I cannot.")[1].format is False
    assert code.verify(problem, "```python\n" + "#" * 17_000).reason == "a program longer than 16000 characters"


def test_a_sandbox_that_fails_is_an_error_and_never_scores(monkeypatch):
    monkeypatch.setattr(jail, "choose", lambda choice: "bubblewrap")
    monkeypatch.setattr(jail, "walls", lambda *_: ["/nowhere/bwrap"])
    verdict = judge(problem_of(ROWS[0], Settings(source=".")), solved(ROWS[0]))[1]
    assert not verdict.correct
    assert "sandbox cannot be started" in verdict.error


def test_a_problem_cannot_choose_its_own_sandbox(monkeypatch):
    asked = []
    monkeypatch.setattr(jail, "choose", lambda choice: asked.append(choice) or "bubblewrap")
    monkeypatch.setattr(trial, "run", lambda *_, kind, **__: trial.Outcome(kind == "none", ""))
    facts = problem_of(ROWS[0], Settings(source=".")).facts | {"sandbox": "none"}
    assert not judge(Problem("code", "?", "code ?", facts), solved(ROWS[0]))[1].correct
    assert asked == ["auto"]


def test_no_sandbox_is_refused_and_none_is_said_loudly(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    jail.fault.cache_clear()
    try:
        with pytest.raises(ValueError, match="no sandbox for it: bubblewrap is not installed"):
            load_mixture({"code": {"source": str(EXAMPLES)}})
        load_mixture({"code": {"source": str(EXAMPLES), "sandbox": "none"}})
        assert "WARNING: sandbox is none" in capsys.readouterr().err
    finally:
        jail.fault.cache_clear()


def test_two_sets_use_one_sandbox(unwalled, monkeypatch):
    load_mixture({"code": {"source": str(EXAMPLES)}})
    monkeypatch.setattr(jail, "choose", lambda choice: "none")
    with pytest.raises(ValueError, match="other problems of code here use bubblewrap"):
        load_mixture({"code:b": {"source": str(EXAMPLES), "sandbox": "none"}})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?", "tests": "assert f(1 =="}, "row 2: its tests are no Python"),
        ({"question": "?", "tests": ["assert 1 == 1"]}, "row 2: its tests call no function of the answer"),
        ({"question": "?", "tests": ["assert (f(1) == 2, 'm')"]}, "row 2: its tests assert a tuple, which holds"),
        ({"question": "?", "tests": []}, "row 2: its tests is"),
        ({"question": "?", "tests": ["assert f(1) == 2", None]}, "row 2: in its tests, entry 2 is null"),
        ({"question": "?"}, "row 2: its tests is null"),
        ({"question": "", "tests": "f(1)"}, "row 2: its question is ''"),
    ],
)
def test_a_faulty_row_is_named(unwalled, tmp_path, row, message):
    source = write(tmp_path / "set.jsonl", [ROWS[0], row])
    with pytest.raises(ValueError, match=message):
        load_mixture({"code": {"source": source}})
    assert len(code.problems(Settings(source=source, faulty="drop"))["train"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0}, "seconds is 0; expected 1 to 60"),
        ({"memory_mib": 1}, "memory_mib is 1"),
        ({"sandbox": "docker"}, "sandbox is 'docker'"),
        ({"tests": "test"}, "has no column 'test'; it has: question, tests, solution"),
        ({"entry": "question"}, "expected the name of a function"),
    ],
)
def test_wrong_settings_are_one_clear_line(unwalled, change, message):
    with pytest.raises(ValueError, match=message):
        load_mixture({"code": {"source": str(EXAMPLES)} | change})


def test_tests_that_are_no_python_are_a_fault():
    with pytest.raises(Fault, match="no Python"):
        called("assert (")
