"""Tests of programs, in every form that sets give them: they are run, counted, and refused where they check nothing."""

import json

import pytest

from data.problem import Problem
from data.sandbox import jail, trial
from data.tasks import code
from data.tasks.code import Settings

RIGHT, WRONG = "def add(x, y):\n    return x + y\n", "def add(x, y):\n    return x - y\n"
CASE = "import unittest\nclass Adding(unittest.TestCase):\n    def test_it(self):\n        "


@pytest.fixture(autouse=True)
def walled(monkeypatch):
    monkeypatch.setattr(code, "_kind", None)
    try:
        return jail.choose("auto")
    except ValueError as refusal:
        pytest.skip(str(refusal))


def tried(tests, program, names=("add",)):
    facts = {"tests": tests, "names": list(names), "context": "", "seconds": 20, "memory_mib": 512}
    return code.tried(Problem("code", "?", "code ?", facts), program)


def loaded(tmp_path, rows, **settings):
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps({"question": f"Add, {n}.", "tests": row}) + "\n" for n, row in enumerate(rows)))
    return code.problems(Settings(source=str(path), shown=0, **settings))["train"]


FORMS = {
    "a statement": "assert add(1, 2) == 3",
    "a function": "def test_add():\n    assert add(1, 2) == 3",
    "an async function": "async def test_add():\n    assert add(1, 2) == 3",
    "a generator": "def test_add():\n    assert add(1, 2) == 3\n    yield",
    "a generator of calls": "def same(x, y):\n    assert x == y\ndef test_add():\n    yield same, add(1, 2), 3",
    "an async generator": "async def test_add():\n    assert add(1, 2) == 3\n    yield",
    "a case": f"{CASE}self.assertEqual(add(1, 2), 3)",
    "a case that runs itself": f"{CASE}self.assertEqual(add(1, 2), 3)\nif __name__ == '__main__':\n    unittest.main()",
    "a case run by a runner": f"{CASE}self.assertEqual(add(1, 2), 3)\n"
    "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Adding))",
    "a case with subtests": f"{CASE}for y in (0, 2):\n            with self.subTest(y=y):\n"
    "                self.assertEqual(add(1, y), 1 + y)",
    "a case with a set-up": f"{CASE}assert add(self.x, 2) == 3\n    def setUp(self):\n        self.x = 1",
    "an async case": "import unittest\nclass Adding(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n"
    "        self.assertEqual(add(1, 2), 3)",
    "a class": "class TestAdd:\n    def setup_method(self):\n        self.x = 1\n    def test_it(self):\n"
    "        assert add(self.x, 2) == 3",
    "a block under __main__": "if __name__ == '__main__':\n    assert add(1, 2) == 3",
    "a main function": "def main():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    main()",
    "check() that nobody calls": "def check():\n    assert add(1, 2) == 3",
    "a function behind a decorator": "import functools\ndef twice(test):\n    @functools.wraps(test)\n    def both():\n"
    "        test(); test()\n    return both\n@twice\ndef test_add():\n    assert add(1, 2) == 3",
    "raise": "if add(1, 2) != 3:\n    raise ValueError('no sum')",
    "exit": "import sys\nsys.exit(0 if add(1, 2) == 3 else 1)\nassert 0",
    "an exit in a branch": "if not add(1, 2) == 3:\n    exit('no sum')",
    "match": "match add(1, 2):\n    case 3:\n        pass\n    case _:\n        raise ValueError('no sum')",
    "the else of a loop": "for x in (2, 3):\n    if add(1, 2) == x:\n        break\n"
    "else:\n    raise ValueError('no sum')",
}


@pytest.mark.parametrize("tests", FORMS.values(), ids=FORMS.keys())
def test_tests_of_every_form_are_run(tmp_path, tests):
    right, wrong = tried(tests, RIGHT), tried(tests, WRONG)
    assert wrong.error is None and not wrong.passed
    if tests != FORMS["exit"]:
        assert right.passed, right
        assert len(loaded(tmp_path, [tests])) == 1


VACUOUS = {
    "a comparison": "add(1, 2) == 3",
    "a print": "print(add(1, 2))",
    "a call": "add(1, 2)",
    "a tuple": "assert (add(1, 2) == 3, 'the sum')",
    "a caught error": "try:\n    assert add(1, 2) == 3\nexcept:\n    pass",
    "a caught assertion": "try:\n    assert add(1, 2) == 3\nexcept AssertionError:\n    print('no sum')",
    "a suppressed error": "import contextlib\nwith contextlib.suppress(Exception):\n    assert add(1, 2) == 3",
    "a caught error in a function": "def test_add():\n    try:\n        assert add(1, 2) == 3\n"
    "    except Exception as e:\n        print(e)",
    "a caught error in a case": f"{CASE}try:\n            self.assertEqual(add(1, 2), 3)\n        except Exception:\n"
    "            pass",
    "a function that nobody calls": "def run():\n    assert add(1, 2) == 3",
    "a helper that nobody calls": "def verify(x, y, z):\n    assert add(x, y) == z",
    "a test that wants arguments": "def test_add(x, y):\n    assert add(x, y) == x + y",
    "a test that returns": "def test_add():\n    return add(1, 2) == 3",
    "a test within a function": "def outer():\n    def test_add():\n        assert add(1, 2) == 3",
    "a lambda": "test_add = lambda: add(1, 2) == 3",
    "a loop over nothing": "for x in []:\n    assert add(x, 2) == 3",
    "all of nothing": "assert all(add(x, 2) == 3 for x in [])",
    "a branch that is never taken": "if False:\n    assert add(1, 2) == 3",
    "a skipped case": "import unittest\n@unittest.skip('slow')\nclass Adding(unittest.TestCase):\n"
    "    def test_it(self):\n        self.assertEqual(add(1, 2), 3)",
    "a case without tests": "import unittest\nclass Adding(unittest.TestCase):\n    def adds(self):\n"
    "        self.assertEqual(add(1, 2), 3)",
    "an unawaited coroutine": "async def run():\n    assert add(1, 2) == 3\nrun()",
    "an early exit": "import sys\nadd(1, 2)\nsys.exit(0)\nassert add(1, 2) == 3",
    "something true": "assert add(1, 2) == 3 or True",
    "itself": "assert add(1, 2) == add(1, 2)",
    "a type": "assert isinstance(add(1, 2), int)",
    "not None": "assert add(1, 2) is not None",
    "a text": "assert 'add(1, 2) == 3'\nadd(1, 2)",
    "true": "assert add(1, 2) is True\nassert add(2, 2) is True",
    "an error": "try:\n    add(1, 'x')\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
    "any error": "import unittest\nunittest.TestCase().assertRaises(Exception, add, 1)",
    "a module that is missing": "import pytest\ndef test_add():\n    assert add(1, 2) == 3",
    "a name that is missing": "assert add(1, 2) == THREE",
    "what stays as it is": "assert add([], []) == []\nassert add(2, 0) == 2\nassert add('a', '') == 'a'",
    "a thread, whose errors nobody sees": "import threading\nthread = threading.Thread(target=lambda: [1][add(1, 2)])\n"
    "thread.start(); thread.join()",
    "an exit without a code": "import sys\nif add(1, 2) != 3:\n    sys.exit()",
    "what is done at the end": "import atexit\ndef run():\n    assert add(1, 2) == 3\natexit.register(run)",
    "a finally that ends it": "import sys\ntry:\n    assert add(1, 2) == 3\nfinally:\n    sys.exit(0)",
    "an expected failure": "import unittest\nclass Adding(unittest.TestCase):\n    @unittest.expectedFailure\n"
    "    def test_it(self):\n        self.assertEqual(add(1, 2), 4)",
    "errors that are gathered": "import asyncio\nasync def run():\n    assert add(1, 2) == 3\nasync def main():\n"
    "    await asyncio.gather(run(), return_exceptions=True)\nasyncio.run(main())",
    "more than two": "assert add(1, 2) > 2",
    "below zero": "assert add(1, 2) < 0",
    "any fraction": "assert isinstance(add(1, 2), float) and 0 < add(1, 2) < 1",
    "a text of some letters": "assert isinstance(add(1, 2), str) and len(add(1, 2)) == 3",
    "a list of one": "assert len(add(1, 2)) == 1 and isinstance(add(1, 2), list)",
    "an error of the system": f"{CASE}self.assertRaises(OSError, add, 1, 2)",
    "nothing written yet": f"{CASE}with self.assertRaises(NotImplementedError):\n            add(1, 2)",
    "a failed assertion": f"{CASE}self.assertRaises(AssertionError, add, 1, 2)",
    "a skip before the check": "import unittest\ndef test_add():\n    raise unittest.SkipTest\n"
    "    assert add(1, 2) == 3",
    "a class that nobody makes": "class TestAdd:\n    def __init__(self, x): self.x = x\n"
    "    def test_it(self): assert add(self.x, 2) == 3",
    "a class whose parent nobody makes": "class Adding:\n    def __init__(self, x): self.x = x\n"
    "class TestAdd(Adding):\n    def test_it(self): assert add(self.x, 2) == 3",
    "a hang, then nothing": "n = add(1, 2)\nwhile n is None:\n    pass\nassert True",
}


def test_a_row_whose_tests_check_nothing_is_refused_by_row(tmp_path, capsys):
    rows = [FORMS["a function"], *VACUOUS.values(), FORMS["a case"]]
    with pytest.raises(
        ValueError, match=r"set.jsonl, row 2: its tests execute no check.*Mend it, or set `faulty: drop`"
    ):
        loaded(tmp_path, rows)
    kept = loaded(tmp_path, rows, faulty="drop")
    assert [problem.facts["tests"] for problem in kept] == [rows[0], rows[-1]]
    assert f"2 train ({len(VACUOUS)} faulty left out)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form", ["a comparison", "a print", "a function that nobody calls", "a lambda", "a loop over nothing"]
)
def test_a_program_passes_no_tests_that_checked_nothing(form):
    outcome = tried(VACUOUS[form], RIGHT)
    assert (outcome.passed, outcome.reason) == (False, "its tests check nothing")


PRINTED = "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\n"
PRINTED += "with redirect_stdout(out):\n    add(1, 2)\n"
IN_RUNNING_TESTS = {
    "a StopIteration ends what counts": (
        "assert all(map(lambda x: add(x, 1) == x + 1, range(9)))",
        "raise StopIteration",
    ),
    "a StopIteration ends a list": ("assert list(map(add, [1], [2])) in ([], [3])", "raise StopIteration"),
    "a subclass of it": (
        "assert all(map(lambda x: add(x, 1) == x + 1, range(9)))",
        "class Stop(StopIteration): pass\n    raise Stop",
    ),
    "an exit under a bare except": (
        "try:\n    assert add(1, 2) == 3\nexcept: pass\nassert 1",
        "import os; os._exit(0)",
    ),
    "rubbish under a bare except": (
        "try:\n    assert add(1, 2) == 3\nexcept: pass\nassert 1",
        "import os\n    for d in range(9):\n        try: os.write(d, b'?\\n')\n        except OSError: pass",
    ),
    "a flood under a bare except": ("try:\n    assert add(1, 2) == 3\nexcept: pass\nassert 1", "return 'x' * 2**21"),
    "NaN": ("assert not abs(add(1, 2) - 3) > 1e-6", "return float('nan')"),
    "NaN in a list": ("assert not add(1, 2)[0] > 4", "return [float('nan')]"),
    "NaN of decimals": ("assert not abs(add(1, 2) - 3) > 1e-6", "import decimal\n    return decimal.Decimal('nan')"),
    "NaN out of infinities": ("assert not abs(add(1, 2) - add(2, 1)) > 1e-6", "return float('inf')"),
    "NaN where a test speaks of one": (
        "import math\nassert not math.isnan(3)\ntry:\n    assert not abs(add(1, 2) - 3) > 1e-6\nexcept: pass",
        "return float('nan')",
    ),
    "NaN in max": ("assert max(abs(add(x, 1) - x - 1) for x in (0, 1)) < 1", "return 1 if x == 0 else float('nan')"),
    "another print": (f"{PRINTED}assert out.getvalue() == '3\\n'", "print(x - y)"),
    "a print of what the tests are to say": (f"{PRINTED}assert out.getvalue() == '3\\n'", "print({'passed': True})"),
    "a print outside of Python's stream": (f"{PRINTED}assert out.getvalue() == '3\\n'", "import os; os.write(1, b'3')"),
    "a print that never ends": (f"{PRINTED}assert out.getvalue() == '3\\n'", "while True: print('3' * 10**6)"),
    "an empty input": ("import io, sys\nsys.stdin = io.StringIO('')\nassert add(1, 2) == 3", "return int(input())"),
    "a skip": (
        f"{CASE}self.assertEqual(add(1, 2), 3)\n    def test_more(self): assert 1",
        "import unittest; raise unittest.SkipTest",
    ),
    "a coroutine, which is true": ("assert add(1, 2)", "pass\nplain = add\nasync def add(x, y): return 0"),
    "a coroutine that nobody awaits": (
        "import asyncio\nassert add(1, 2)\nasyncio.sleep(0).close()",
        "pass\nasync def add(x, y): return 0",
    ),
}


@pytest.mark.parametrize(("tests", "body"), IN_RUNNING_TESTS.values(), ids=IN_RUNNING_TESTS.keys())
def test_no_value_and_no_error_slips_through_tests_that_run(tests, body):
    outcome = tried(tests, f"def add(x, y):\n    {body}\n")
    assert not outcome.passed and outcome.error is None, outcome


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        (
            "try:\n    add(1, 'x')\nexcept ValueError as error:\n    assert 'apart' in str(error)\n"
            "else:\n    assert False",
            "class Mixed(ValueError): pass\ndef add(x, y):\n    raise Mixed('kept apart')",
        ),
        (
            "import unittest\nunittest.TestCase().assertRaises(LookupError, add, 1, 2)",
            "def add(x, y):\n    return {}[x]",
        ),
        (
            "import json\ntry:\n    add(1, 2)\nexcept json.JSONDecodeError:\n    assert True\nelse:\n    assert False",
            "import json\ndef add(x, y):\n    return json.loads('{')",
        ),
        (
            "try:\n    add(1, 2)\nexcept StopIteration:\n    assert True\nelse:\n    assert False",
            "def add(x, y):\n    return next(iter([]))",
        ),
        ("import math\nassert math.isnan(add(1, 2))", "def add(x, y):\n    return float('nan')"),
        ("import asyncio\nassert asyncio.run(add(1, 2)) == 3", "async def add(x, y):\n    return x + y"),
        ("async def test_add():\n    assert await add(1, 2) == 3", "async def add(x, y):\n    return x + y"),
        (
            "import math\nassert add(2000, 0) == math.factorial(2000)",
            "import math\ndef add(x, y):\n    return math.factorial(x)",
        ),
        ("assert 1 < add(1, 2) < 4 <= 5 != 6", RIGHT),
        ("from __future__ import annotations\n'''A text.'''\nassert add(1, 2) == 3", RIGHT),
        (
            "import datetime\nassert add(datetime.date(2024, 2, 28), 1) == datetime.date(2024, 2, 29)",
            "import datetime\ndef add(x, y):\n    return x + datetime.timedelta(days=y)",
        ),
        (
            f"{PRINTED}assert out.getvalue() == '1 + 2 is\\n3\\n'",
            "def add(x, y):\n    print(x, '+', y, 'is')\n    print(x + y)",
        ),
        (f"{PRINTED}assert 'no sum' in out.getvalue()", "def add(x, y):\n    print('no sum')\n    return 3"),
        (
            "import io, sys\nfrom unittest.mock import patch\n"
            "with patch('sys.stdin', io.StringIO('4\\n5\\n6\\n')):\n    assert add(1, 2) == 12 and add(0, 0) == 6",
            "def add(x, y):\n    return x + y + sum(int(input()) for _ in range(1 + (x > 0)))",
        ),
        (
            "import io, sys\nsys.stdin, sys.stdout = io.StringIO('4 5'), io.StringIO()\nadd(0, 0)\n"
            "assert sys.stdout.getvalue() == '9\\n'",
            "import sys\ndef add(x, y):\n    print(sum(map(int, sys.stdin.read().split())))",
        ),
        (
            "import io, sys\nsys.stdin = io.StringIO('4')\nassert add(1, 2) == 7",
            "import sys\ndef add(x, y):\n    with sys.stdin as file:\n        return x + y + int(file.read())",
        ),
        ("calls = [add(1, 2)]\ndef test_once():\n    calls.append(1)\n    assert len(calls) == 2\ntest_once()", RIGHT),
    ],
)
def test_what_is_right_passes(tests, program):
    outcome = tried(tests, program)
    assert outcome.passed, outcome


def test_tests_are_tried_even_where_others_of_their_batch_end_the_sandbox():
    kill = """
import os, signal
for process in (os.getppid(), 1):
    try: os.kill(process, signal.SIGKILL)
    except OSError: pass
assert f(1) == 2
"""
    batch = [("f(1)", ["f"]), (kill, ["f"]), ("f(1)", ["f"])]
    faults = trial.try_dummies(batch, memory_mib=256, kind=jail.choose("auto"))
    assert all("no check" in faults[at] for at in (0, 2))


def test_tests_that_cannot_be_tried_are_said_and_no_answer_to_them_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jail, "choose", lambda choice: "bubblewrap")
    monkeypatch.setattr(jail, "walls", lambda *_: ["/nowhere/bwrap"])
    assert len(loaded(tmp_path, ["assert add(1, 2) == 3"])) == 1
    assert "cannot be tried out" in capsys.readouterr().err


def test_tests_of_objects_that_cannot_leave_the_sandbox_are_said(tmp_path, capsys):
    stack = "stack = Stack()\nstack.push(1)\nassert stack.pop() == 1"
    loaded(tmp_path, ["assert add(1, 2) == 3", stack, "row = add(1, 2)\nassert row.copy() == [3]"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING: ")]
    assert "the tests of 1 of 3 problems use objects of the answer's own classes, such as 'stack.push'" in line
    loaded(tmp_path, ["assert add(1, 2).total_seconds() == 3", "assert next(add(1, 2)).bit_length() == 2"])
    assert "WARNING" not in capsys.readouterr().err
