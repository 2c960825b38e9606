"""What the scorers of reasoning-gym give 1, and is wrong all the same."""

import json
import re

import pytest

from data.mixture import judge
from data.problem import Problem, Verdict
from data.tasks import get_task, gym
from data.tasks.gym_moves import turns

pytest.importorskip("reasoning_gym")
GRID = "[[0,1],[1,0]]"
SOKOBAN = {"gamestr": "+ + + + +  \n+ * @ X +  \n+ - - - +  \n+ + + + +  \n"}
JUGS = {"puzzle": {"jug_capacities": [3, 5], "target": 2, "min_moves": 2}}
LOCK = {
    "buttons": [{"name": "A", "type": "add", "value": 2, "active_state": "any"},
                {"name": "B", "type": "add", "value": 1, "active_state": "any"},
                {"name": "C", "type": "subtract", "value": 1, "active_state": "any"}],
    "initial_state": "red", "initial_value": 0, "target_value": 4,
}  # fmt: skip
BOX = {"initial_state": {"0.5_0.5": ["box_red"], "0.5_1.5": ["target_red"]}}
MOVE, LIFT = (
    '{"Agent[0.5, 0.5]": "move(box_red, square[0.5, 1.5])"}',
    '{"Agent[0.5, 1.5]": "move(box_red, target_red)"}',
)
GRAPH = {"puzzle": {"vertices": [0, 1], "edges": [[0, 1]], "num_colors": 2, "color_options": [1, 2]}}
HANOI = {"num_disks": 1, "num_pegs": 3, "start_peg": 1, "target_peg": 3, "solution_length": 1}


def verdict(name: str, gold: str | None, metadata: dict, answer: str) -> Verdict:
    problem = Problem(f"gym:{name}", "?", "?", {"entry": {"answer": gold, "metadata": metadata}})
    return judge(problem, f"<think>So.</think>{answer}")[1]


@pytest.mark.parametrize(
    ("name", "gold", "metadata", "right", "wrong"),
    [
        ("gsm_symbolic", "65", {}, ["65", "$65", "65.0", "The answer is 65."],
         ["minus 65", "not 65", "-65", "65 or 66", "65 percent", "65 hundred", "-$65", "6 5", "1/65"]),
        ("gsm_symbolic", "1200", {}, ["1,200", "$1,200.00"], ["12,00", "1,2,0,0", "1.200"]),
        ("time_intervals", "36 days", {"task_type": "date"}, ["36 days", "36 day", "36"],
         ["36 weeks", "36 hours", "36 days ago", "-36 days"]),
        ("time_intervals", "00:09:56", {"task_type": "time_seconds"}, ["00:09:56", "0:09:56"],
         ["0:08:116", "00:09:56 h"]),
        ("time_intervals", "00:09:56.040", {"task_type": "time_ms"}, ["00:09:56.040"], ["00:09:56.40", "00:09:56.041"]),
        ("time_intervals", "2 days, 03:04", {"task_type": "datetime"}, ["2 days, 3:04"],
         ["1 days, 27:04", "2 days, 03:04 ago"]),
        ("decimal_arithmetic", "5.761", {}, ["5.761", "5.7610"], ["5.760", "5.762", "5.7615", "5.761 or so"]),
        ("chain_sum", "1000", {}, ["1000", "1,000", "+1000.0"], ["1,0,0,0", "1_000", "10,00", "１０００"]),
        ("number_format", "698511656.3269999", {"solution": 698511656.3269999},
         ["698511656.327", "698,511,656.3269999", "6.985116563269999e+08", "698511656.327000"],
         ["698511656.33", "698511656.320", "698511656.328", "about 698511656.327"]),
        ("pool_matrix", "3.6666 2.5\n1 9", {}, ["3.67 2.5\n1 9", "3.667 2.50\n1.0 9"],
         ["3.66 2.5\n1 9", "3.67 2.52\n1 9", "3.7 2.5\n1 9", "3.70 2.52\n1.01 9.08", "3.67 2.5 1 9"]),
        ("game_of_life", GRID, {}, [GRID, "[[0, 1], [1, 0]]"],
         ["[[0,1],[1,0],[1,1]]", "[[0,1,1],[1,0,0]]", "[[false,true],[true,false]]", f"{GRID[:-1]},[]]"]),
        ("codeio", '{"a": 1.5}', {}, ['{"a": 1.50}'], ['{"a": 1.5, "a": 1.5}', '{"a": true}', '{"a": "1.5"}']),
        ("advanced_geometry", "(4.500, 0.333)", {"task_type": "orthocenter", "ortho": ["9/2", "1/3"]},
         ["(4.500, 0.333)", "(4.5, 0.3333)", "4.5, 0.333"], ["(4.5, 0.333, 7)", "(4.5, 0.334)", "(4.5001, 0.333)"]),
        ("advanced_geometry", "17.72°", {"task_type": "angle_measure"}, ["17.72°", "17.72"], ["17.721°", "17.72 rad"]),
        ("fraction_simplification", "135/716", {"numerator": 270, "denominator": 1432, "simplified_numerator": 135,
         "simplified_denominator": 716}, ["135/716", "$\\frac{135}{716}$", "$135/716$"],
         ["\\frac{135}{716} or so", "\\frac{135}{716}+1", "1_35/716", "$\\frac{135}{716}\\text{ not}$"]),
        ("knights_knaves", "Ava is a pioneer, and Noah is a laggard.", {},
         ["Ava is a pioneer, and Noah is a laggard", "Noah is a laggard, Ava is a pioneer."],
         ["I guess Ava is a pioneer, and Noah is a laggard.", "Ava is not Ava is a pioneer, and Noah is a laggard.",
          "Ava is a pioneer pioneer, and Noah is a laggard."]),
        ("quantum_lock", "A → A", LOCK, ["A → A", "A, A", "A A", "a->a"],
         ["A and A", "press A → A", "A → A → B → C", "an answer: (A)"]),
        ("kakurasu", "1 0\n0 1", {"row_sums": [1, 2], "col_sums": [1, 2], "n_rows": 2, "n_cols": 2},
         ["1 0\n0 1", "10\n01"], ["x 1 0 x\n0 y 1", "[1, 0]\n[0, 1]!", "1 2 0\n0 1"]),
        ("survo", "5 7 12\n4 9 13\n9 16 25", {"board_size": 3, "solution": [[5, 7, 12], [4, 9, 13], [9, 16, 25]]},
         ["5 7 12\n4 9 13\n9 16 25", "5  7 12\n4 9 13 \n9 16 25"],
         ["5 7 and 12\n4 9 13\n9 16 25", "no\n5 7 12\n4 9 13\n9 16 25"]),
        ("sokoban", "R", SOKOBAN, ["R"], ["UR", "R!", "go R", "LR", "r", "DURR", "R" + "DU" * 12]),
        ("sokoban", "R", SOKOBAN, ["RDLRLRLUDRU"], []),
        ("jugs", '["fill B", "pour B->A"]', JUGS, ['["fill B", "pour B->A"]'],
         ['["fill B", "fill B", "pour B->A"]', '["fill B now", "pour B->A"]',
          '["fill A", "empty A", "fill B", "pour B->A", '
          + ", ".join(['"empty A", "pour B->A", "fill B", "fill A"'] * 6) + "]"]),
        ("boxnet", None, BOX, [f"[{MOVE}, {LIFT}]"], [f"[{LIFT}, {MOVE}, {LIFT}]", f"[{MOVE}, {MOVE}, {LIFT}]"]),
        ("tower_of_hanoi", "Move disk 1 from Peg 1 to Peg 3", HANOI, ["Move disk 1 from Peg 1 to Peg 3"],
         ["Never Move disk 1 from Peg 1 to Peg 3", "Move disk 1 from Peg 1 to Peg 33",
          "Move disk 1 from Peg 1 to Peg 3?"]),
        ("rubiks_cube", None, {"cube_size": 3, "scramble_moves": "R"}, ["R'", "R R R"], ["R' 0", "R' 0 0 0", "x R'"]),
        ("rush_hour", None, {"board_config": "ooooooooooooAAoooooooooooooooooooooo"}, ["A+4", "A+2 A+2"],
         ["A-1 A+4", "A+5", "try A+4", "A+4 B+1"]),
        ("palindrome_partitioning", '[["a", "a"], ["aa"]]', {"solution": [["a", "a"], ["aa"]]},
         ['[["aa"], ["a", "a"]]'],
         ['["aa", ["aa"]]', '[["aa"], ["a", "a"], ["aa"]]']),
        ("graph_color", None, GRAPH,
         ['{"0": 1, "1": 2}'], ['{"0": 1, "1": 2, "2": 1}', '{"0": 1, "0": 2, "1": 1}', '{"0": true, "1": 2}']),
        ("cryptarithm", "A=1,B=2", {"words_letters": ["A", "A"], "result_letters": "B", "allow_leading_zero": False},
         ["A=1,B=2", "B = 2, A = 1"], ["A=3,A=1,B=2", "A=+1,B=2", "A=1,B=2_"]),
        ("polynomial_equations", "-0.1096, 0.0", {}, ["-0.1096, 0.0", "0, -0.1096"], ["-0.1096, 0.0, x", "-0.1096"]),
        ("power_function", "3618358.91", {}, ["3.62e+6", "3620000", "3618358.91", "3.6184e6"],
         ["3.6191e6", "3.615001e6", "3622222", "3.6e6"]),
        ("prime_factorization", "2 × 2 × 17", {}, ["2 × 2 × 17", "17×2×2"],
         ["2 × × 2 × 17", "+2 × 2 × 17", "2_ × 2 × 17"]),
        ("rectangle_count", "12", {}, ["12"], ["1_2", "12 x"]),
        ("word_ladder", "KENS,FENS,FEDS", {"start_word": "KENS", "end_word": "FEDS"}, ["KENS,FENS,FEDS"],
         ["KENS,FENS,KENS,FENS,FEDS"]),
        ("simple_integration", "x**3 + C", {"variable": "x", "integrand": "3*x**2"}, ["x**3 + C"],
         ["x**3 + x/10**20 + C", "-x**3", "not x**3", "x**3 # or x**4"]),
        ("polynomial_multiplication", "x**2 + 2*x", {}, ["2*x + x**2", "x^2 + 2*x"],
         ["x**2 + 2*x # or x**2 - 2*x", "x**2 - 2*x", "x**2 + 2*x = y"]),
        ("coin_flip", "0.001953125", {}, ["0.0020", "1/512", "0.001953125"], ["0.0019", "1/511", "0.0019531251"]),
    ],
)  # fmt: skip
def test_only_what_is_right_and_nothing_else_is_right(name, gold, metadata, right, wrong):
    assert [answer for answer in right if not verdict(name, gold, metadata, answer).correct] == []
    assert [answer for answer in wrong if verdict(name, gold, metadata, answer).correct] == []
    assert [answer for answer in wrong if verdict(name, gold, metadata, answer).error] == []


def test_a_sequence_has_a_length_that_the_solution_bounds():
    cube = {"answer": None, "metadata": {"scramble_moves": "R U"}}
    assert turns("R " * 100, cube) == "" and turns("R " * 109, cube) == "has 109 turns; 108 are enough"
    assert turns("R50 U50 F50", cube) == "has 150 turns; 108 are enough"
    assert verdict("sokoban", "R", SOKOBAN, "R" + "DU" * 20).reason == "has 41 moves; 24 are enough"
    assert "characters" in verdict("leg_counting", "4", {}, "4 " * 500).reason


def test_the_graded_score_is_the_scorers_own_and_1_for_right_answers_alone():
    assert verdict("tsumego", "C4", {}, "C4").score == 1
    assert verdict("tsumego", "C4", {}, "C4 or D4").score == 0.25
    assert verdict("rectangle_count", "12", {}, "no").score == 0
    assert 0 < verdict("time_intervals", "36 days", {"task_type": "date"}, "35 days").score < 1
    assert verdict("time_intervals", "36 days", {"task_type": "date"}, "36 weeks").score == 0  # the scorer's is 1
    assert verdict("gsm_symbolic", "65", {}, "64").score == 0 and verdict("gsm_symbolic", "65", {}, "65").score == 1
    assert 0 <= verdict("polynomial_equations", "-0.1096, 0.0", {}, "nan, nan").score < 1
    assert (
        0 <= verdict("calendar_arithmetic", "-1", {"task": "recurring_event_day"}, "4").score < 1
    )  # the scorer's: e^25


def test_tasks_without_a_graded_score_have_none():
    assert get_task("countdown").verify(Problem("countdown", "", "", {"numbers": [1], "target": 1}), "1").score is None
    assert judge(Problem("gym:gcd", "", "", {}), "no thinking")[1].score is None


def test_a_constant_answer_that_wins_is_told_once_in_one_line(capsys):
    from data.mixture import draw_problems, load_mixture

    gym._ANSWERS.clear()
    gym._WARNED.clear()
    parts = load_mixture({"gym:syllogism": {"allow_no": False, "allow_some": False, "allow_some_not": False}})
    draw_problems(parts, "train", 90, 41)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: gym:")]
    assert len(lines) == 1 and "gym:syllogism: the answer 'Yes' is right for " in lines[0]
    assert re.search(r"for (\d+) of \d+ problems at these settings; a model that always gives it scores \d+%", lines[0])
    assert "Leave the task out of `tasks`, or set tasks.gym:syllogism to a level with more possible" in lines[0]
    draw_problems(parts, "test", 12, 41)
    assert "warning" not in capsys.readouterr().err  # once
    draw_problems(load_mixture({"gym:string_insertion": {}}), "train", 40, 41)
    assert "warning" not in capsys.readouterr().err


def test_a_constant_answer_to_a_few_problems_is_told_where_it_wins_half_of_them(capsys):
    from data.mixture import draw_problems, load_mixture

    gym._ANSWERS.clear()
    gym._WARNED.clear()
    draw_problems(load_mixture({"gym:syllogism": {}, "gym:chain_sum": {}}), "test", 20, 7)  # as an evaluation draws
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: gym:")]
    assert len(lines) == 1 and "gym:syllogism: the answer 'Yes' is right for " in lines[0]


def test_letters_and_digits_that_only_look_right_are_refused():
    integral = {"variable": "x", "integrand": "3*x**2"}
    assert verdict("simple_integration", "x**3 + C", integral, "x**3 + K").correct
    for answer in ("x**3 + X**4/8 + C", "x**3 + X", "x**3 + a*b"):
        assert not verdict("simple_integration", "x**3 + C", integral, answer).correct
    for answer in ("٠xdc٢٧", "0xdc２７"):
        assert not verdict("bitwise_arithmetic", "0xdc27", {}, answer).correct
    assert verdict("bitwise_arithmetic", "0xdc27", {}, "0xdc27").correct
    assert not verdict("time_intervals", "00:00:24", {"task_type": "time"}, "٠٠:٠٠:٢٤").correct


def test_a_hostile_answer_costs_no_worker():
    integral = {"variable": "x", "integrand": "3*x**2"}
    for answer in ("exp(exp(exp(x**99)))", "sin(" * 20 + "x" + ")" * 20, "((9**99)**99)**99*x", "x**x**x**x**x**x"):
        assert verdict("simple_integration", "x**3 + C", integral, answer).error is None
    for name in ("polynomial_multiplication", "prime_factorization", "sokoban"):
        assert verdict(name, "6", SOKOBAN, "((9**99)**99)**99").error is None
    assert verdict("propositional_logic", None, {"variables": ["P"], "premises": ["P"]}, "¬" * 5000 + "P").error is None
    json.dumps(verdict("rubiks_cube", None, {"cube_size": 3, "scramble_moves": "R"}, "R99 " * 1400).reason)
