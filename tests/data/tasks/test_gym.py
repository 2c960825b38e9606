"""`gym:<name>`: every task of reasoning-gym draws, survives JSON, and is judged as it should be."""

import json
import random
import re

import pytest

from data.mixture import draw_problems, judge, load_mixture
from data.problem import Problem, Verdict
from data.tasks import get_task, gym
from data.workers.pool import WorkerPool

pytest.importorskip("reasoning_gym")

SLOW = ("futoshiki", "knight_swap", "sokoban")  # more than half a second for each problem
HASHED = ("codeio", "list_functions", "polynomial_multiplication")  # their generators walk over sets, or use `random`
WRONG = ("7919", "maybe", '{"a": 1}', "9**9**9**9", "nan")
# Their scorers take an answer within a tolerance, with another constant, in another notation, another that solves the
# problem too (quantum_lock), or a misspelt unit (time_intervals).
TOLERANT = (
    "coin_flip", "complex_arithmetic", "decimal_arithmetic", "fraction_simplification", "intermediate_integration",
    "number_format", "pool_matrix", "power_function", "quantum_lock", "simple_integration", "time_intervals",
)  # fmt: skip
SOLVED = {  # a problem of each task that states no right answer, and one solution
    "boxnet": (
        {"initial_state": {"0.5_0.5": ["box_red"], "0.5_1.5": ["target_red"]}},
        '[{"Agent[0.5, 0.5]": "move(box_red, square[0.5, 1.5])"}, {"Agent[0.5, 1.5]": "move(box_red, target_red)"}]',
    ),
    "graph_color": (
        {"puzzle": {"vertices": [0, 1, 2], "edges": [[0, 1], [1, 2]], "num_colors": 2, "color_options": [1, 2]}},
        '{"0": 1, "1": 2, "2": 1}',
    ),
    "propositional_logic": ({"variables": ["P", "Q"], "premises": ["(P → Q)", "P"]}, "(P ∧ Q)"),
    "rubiks_cube": ({"cube_size": 3, "scramble_moves": "R U"}, "U' R'"),
    "rush_hour": ({"board_config": "ooooooooooooAAoooooooooooooooooooooo"}, "A+4"),
}


def problem_of(name: str, metadata: dict, answer: str | None = None) -> Problem:
    return Problem(f"gym:{name}", "?", "?", {"entry": {"answer": answer, "metadata": metadata}})


def verdict(problem: Problem, answer: str) -> Verdict:
    return judge(problem, f"<think>So.</think>{answer}")[1]


def draw(name: str, count: int, seed: str = "") -> list[Problem]:
    task = get_task(f"gym:{name}")
    return task.draw(random.Random(name + seed), task.settings(), count)


def check(name: str, count: int) -> None:
    problems = draw(name, count)
    assert problems, "none could be answered"
    for problem in problems:
        assert problem.prompt.strip() and problem.canonical.startswith(f"gym:{name} ")
        problem = Problem.from_json(problem.to_json())
        gold = problem.facts["entry"]["answer"]
        assert (gold is None) == (name in SOLVED)
        if gold is not None:
            right = verdict(problem, gold)
            assert right.correct and right.error is None, (gold, right)
            assert name in TOLERANT or not verdict(problem, f"{gold[:-1]}{chr(ord(gold[-1]) + 1)}").correct
        for answer in WRONG:
            wrong = verdict(problem, answer)
            assert not wrong.correct or answer == gold, (answer, gold)
            assert wrong.error is None, (answer, wrong)


def test_all_of_the_library_are_there_and_the_one_that_cannot_be_is_named():
    assert len(gym.names()) == 105 and len(gym.datasets()) == 106
    with pytest.raises(ValueError, match="gym:composite is not a task of its own: it mixes other tasks"):
        load_mixture({"gym:composite": {}})


@pytest.mark.parametrize("name", [name for name in gym.names() if name not in SLOW])
def test_a_task_draws_problems_whose_own_answer_is_right_and_others_wrong(name):
    check(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", gym.names())
def test_many_problems_are_drawn_and_judged_right(name):
    check(name, 4 if name in SLOW else 40)


@pytest.mark.parametrize("name", SOLVED)
def test_where_no_right_answer_is_stated_a_solution_is_right(name):
    metadata, solution = SOLVED[name]
    assert verdict(problem_of(name, metadata), solution).correct
    wrong = verdict(problem_of(name, metadata), solution[: len(solution) // 2])
    assert not wrong.correct and wrong.error is None


def test_the_same_chance_draws_the_same_problems_in_another_process_and_another_order(monkeypatch):
    same_elsewhere(HASHED, 3, monkeypatch)


@pytest.mark.slow
def test_every_task_draws_the_same_problems_elsewhere(monkeypatch):
    same_elsewhere([name for name in gym.names() if name not in SLOW], 8, monkeypatch)
    same_elsewhere(SLOW, 2, monkeypatch)


def same_elsewhere(names, count: int, monkeypatch) -> None:
    here = [draw(name, count) for name in names]
    pool = WorkerPool(gym.WORKER, seconds=60, workers=1, environment=gym.ENVIRONMENT)
    with monkeypatch.context() as patched:
        patched.setattr(gym, "drawing", pool)
        there = [[draw(name, 2, "others before"), draw(name, count)][1] for name in reversed(names)]
    pool.close()
    assert here == there[::-1]


@pytest.mark.parametrize(
    ("name", "gold", "metadata", "right", "wrong"),
    [
        ("binary_matrix", "0 1\n1 0", {}, ["0 1\n1 0"], ["[[0, 1], [1, 0]]", "__import__('os').getcwd()"]),
        ("bitwise_arithmetic", "0xff", {}, ["0xFF", "255"], ["0xfe", "0xff - 0x0"]),
        ("coin_flip", "0.234375", {}, ["15/64", "0.2344", "0.234375"], ["0", "0.2", "0.23", "1e999999999", "1/0"]),
        ("complex_arithmetic", "-5.0 + 1.0i", {"result": [-5, 1]}, ["-5 + i", "-5+1i", "(-5.0 + 1.0i)"],
         ["nan", "-5", "-5 - i", "5+1i", "-5 + 1", "inf"]),
        ("complex_arithmetic", "0.0 - 6.0i", {"result": [0, -6]}, ["-6i", "0 - 6i"], ["6i", "-6", "0"]),
        ("complex_arithmetic", "18.0", {"result": [18, 0]}, ["18", "18 + 0i"], ["18i", "1 + 8i", "180"]),
        ("countdown", "2*5*4", {"numbers": [2, 5, 4], "target": 40}, ["4 * (5 * 2)"],
         ["2.5*4", "40", "2*5*4*1", "8*5", "2**5+4+4"]),
        ("figlet_font", "characteristic", {}, ["CHARACTERISTIC"], ["characterizing"]),
        ("game_of_life_halting", "False", {}, ["False", "false"], ["True", "hello", "0"]),
        ("gsm_symbolic", "279", {}, ["279", "$279", "It is 279."], ["-279", "279 or 280", "27", "2790"]),
        ("letter_jumble", "Smith devotes", {}, ["smith devotes"], ["Smith devotes two", "Smith"]),
        ("n_queens", "Q _\n_ _", {"valid_answers": ["Q _\n_ _", "_ Q\n_ _"]}, ["_ Q\n_ _"], ["_ _\nQ _", "[['Q']]"]),
        ("number_sorting", "['-2.5', '3', '10']", {}, ['["-2.5", "3", "10"]', "[-2.50, 3, 10.0]"],
         ["['-1.5', '4', '11']", "['-2.5', '3']", "-2.5, 3, 10"]),
        ("polynomial_multiplication", "6*x**2 + 2*x", {}, ["2*x + 6*x**2", "6*x^2+2*x"],
         ["6*x**2", "2*x*(3*x + 1)", "x**99999999", "x.__class__", "9**9**9**9", "(" * 900]),
        ("propositional_logic", None, {"variables": ["P", "Q"], "premises": ["(P → Q)", "P"]}, ["(P ∧ Q)", "(Q ∧ P)"],
         ["(P → Q)", "((P→Q))", "P", "(P ∨ ¬P)", "¬Q"]),
        ("puzzle24", "4*6*1*1", {"numbers": [8, 3, 1, 1]}, ["8 * 3 * 1 * 1"], ["4*6*1*1", "8*3", "8*3+1-1+0"]),
        ("rubiks_cube", None, {"cube_size": 3, "scramble_moves": "R"}, ["R'", "R3"], ["R", "R999999999"]),
        ("simple_integration", "x**3 + C", {"variable": "x", "integrand": "3*x**2"},
         ["x**3 + C", "x**3 - 7", "C + x^3"],
         ["x**2", "3*x**2", "exp(exp(exp(9**99)))", "lambda x: x", "x**3 if 1 else 2", "__import__('os')"]),
        ("spiral_matrix", "1 2 3", {}, ["1 2 3"], ["[1, 2, 3]", "1 2"]),
        ("string_insertion", "AABC", {}, ["AABC"], ["['A', 'A', 'B', 'C']", "AAB"]),
        ("word_sorting", "a, b", {"sorted_words": ["a", "b"]}, ["a,b", "a, b"], ["a, b, c", "b, a", "a"]),
    ],
)  # fmt: skip
def test_our_judges_take_what_is_right_and_neither_run_nor_believe_what_is_not(name, gold, metadata, right, wrong):
    problem = problem_of(name, metadata, gold)
    assert [answer for answer in right if not verdict(problem, answer).correct] == []
    assert [answer for answer in wrong if verdict(problem, answer).correct] == []


def test_no_judge_and_no_scorer_that_it_replaces_is_left_to_evaluate_an_answer(tmp_path):
    """Each task is given an answer that would leave a file behind if anything evaluated it."""
    trace = tmp_path / "ran"
    answer = f"open({str(trace)!r}, 'w').close()"
    for name in gym.names():
        metadata, _ = SOLVED.get(name, ({}, ""))
        for problem in [problem_of(name, metadata)] if name in (*SOLVED, *SLOW) else draw(name, 1):
            assert not verdict(problem, answer).correct
    assert not trace.exists()


def test_what_an_answer_scores_short_of_right_is_said():
    assert verdict(problem_of("tsumego", {}, "C4"), "C4 or D4").reason == "scores 0.25"


def test_a_scorer_that_hangs_is_an_error_and_ends_nothing(monkeypatch):
    pool = WorkerPool("gym_that_hangs:act", seconds=0.2, workers=1)
    monkeypatch.setattr(gym, "scoring", pool)
    found = verdict(problem_of("leg_counting", {}, "4"), "4")
    pool.close()
    assert not found.correct and "timed out" in found.error


def test_settings_that_give_nothing_usable_are_said():
    narrow = {"min_date": "2001-02-03", "max_date": "2001-03-04", "task_types": ["date"]}
    with pytest.raises(ValueError, match=r"gym:time_intervals draws no usable problem at .*empty range for randrange"):
        draw_problems(load_mixture({"gym:time_intervals": narrow}), "test", 2, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"gym:leg_count": {}}, "Unknown task gym:leg_count; expected one of the 105 .* such as leg_counting"),
        ({"gym": {}}, "Unknown task gym:"),
        ({"gym:leg_counting": {"legs": 4}}, r"Unknown setting tasks\.gym:leg_counting\.legs; expected one of: weight"),
        ({"gym:leg_counting": {"seed": 4}}, r"Unknown setting tasks\.gym:leg_counting\.seed"),
        ({"gym:leg_counting": {"min_animals": "3"}}, "expected a whole number"),
        ({"gym:leg_counting": {"min_animals": 9, "max_animals": 3}}, "gym:leg_counting is .* which it refuses: "),
        ({"gym:basic_arithmetic": {"format_style": "ornate"}}, "expected one of: simple, natural"),
        ({"gym:time_intervals": {"min_date": "yesterday"}}, "expected a date"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(spec, message):
    with pytest.raises(ValueError, match=message):
        load_mixture(spec)


def test_settings_reach_the_generator_and_the_scorer():
    dates = {"min_date": "2001-02-03", "max_date": "2001-12-04", "task_types": ["date"]}
    spec = {
        "gym:chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1, "weight": 2},
        "gym:time_intervals": dates,
        "gym:aiw": {"task_types": ["friends"], "task_type_weights": [1.0]},
    }
    parts = load_mixture(spec)
    problems = draw_problems(parts, "train", 24, 0)
    sums = [problem for problem in problems if problem.task == "gym:chain_sum"]
    assert len(sums) == 12
    assert all(re.search(r"problem: -?\d [+-] \d =", problem.prompt) for problem in sums)
    dated = [problem for problem in problems if problem.task == "gym:time_intervals"]
    assert dated[0].facts["settings"] == dates
    assert all("2001" in problem.prompt for problem in dated)
    for problem in map(Problem.from_json, [problem.to_json() for problem in problems]):
        assert verdict(problem, problem.facts["entry"]["answer"]).correct


def test_settings_without_a_problem_are_said_not_waited_for(monkeypatch):
    monkeypatch.setattr(gym, "drawing", WorkerPool(gym.WORKER, seconds=0.5, workers=1, environment=gym.ENVIRONMENT))
    parts = load_mixture({"gym:puzzle24": {"min_value": 1, "max_value": 1}})
    with pytest.raises(ValueError, match=r"gym:puzzle24 draws no problem at the settings .* timed out"):
        draw_problems(parts, "test", 2, 0)
    gym.drawing.close()


def test_wording_does_not_make_another_problem():
    equations = draw_problems(load_mixture({"gym:simple_equations": {"max_value": 3, "max_terms": 2}}), "train", 20, 0)
    stated = [json.loads(problem.canonical.split(" ", 1)[1])["equation"] for problem in equations]
    assert len({problem.prompt.split()[0] for problem in equations}) > 1
    assert len(set(stated)) == 20
    assert all(equation in problem.prompt for equation, problem in zip(stated, equations, strict=True))
