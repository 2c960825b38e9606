"""The table of what answers that know nothing score in the gym tasks."""

import json

import pytest

from data.tasks import gym
from eval.gym import blind
from eval.gym.attack_page import HEADING, section, section_of, with_section
from eval.gym.attacks import Settings, attack_tasks
from eval.gym.wrong_answers import KINDS, negated, perturbed

pytest.importorskip("reasoning_gym")
FEW = Settings(problems=4)
LEVEL = "+ + + + +  \n+ * @ X +  \n+ - - - +  \n+ + + + +  \n"


def test_a_task_is_asked_once_and_a_constant_answer_shows(tmp_path):
    kept = tmp_path / "rows" / "attack.jsonl"
    (row,) = attack_tasks(["syllogism"], FEW, kept)
    assert (row["problems"], row["errors"], row["constant"]) == (4, 0, "Yes") and row["constant_wins"] >= 2
    assert [row[kind] for kind in KINDS[:3]] == [0, 0, 0]
    assert json.loads(kept.read_text())["settings"]["problems"] == 4
    assert attack_tasks(["syllogism"], FEW, kept) == [row]
    with pytest.raises(ValueError, match="holds rows of other settings"):
        attack_tasks(["syllogism"], Settings(), kept)
    (line,) = [line for line in section([row], FEW).splitlines() if line.startswith("| gym:")]
    assert line.startswith("| gym:syllogism | 4 | ") and line.endswith('(`"Yes"`) | 0 |')


def test_answers_are_wrong_by_how_they_are_made():
    assert "-65" in negated("65") and "-0" not in negated("0")
    assert {"66", "36 weeks"} <= {*perturbed("65"), *perturbed("36 days")} and "1." not in perturbed("1.0")


def test_the_section_takes_the_place_of_the_one_before_and_leaves_the_rest():
    page = f"# A\n\n{HEADING}\n\nold\n\n## Settings\n"
    assert with_section(page, f"{HEADING}\n\nnew\n") == f"# A\n\n{HEADING}\n\nnew\n\n## Settings\n"
    assert section_of(with_section("# A\n", f"{HEADING}\n\nnew\n")) == f"{HEADING}\n\nnew\n"
    assert with_section("# A\n", section_of("# B\n")) == "# A\n"
    assert gym.names()


def test_random_moves_solve_puzzles_by_the_scorer_of_reasoning_gym_and_none_by_ours(monkeypatch):
    monkeypatch.setattr(blind, "LENGTHS", (4, 200))
    monkeypatch.setattr(blind, "puzzles", lambda level, seed: [{"answer": "R", "metadata": {"gamestr": LEVEL}}] * 2)
    short, long = blind.blind_walks(0)
    assert (short.puzzles, short.ours_best, long.ours_best) == (2, 2, 0)
    assert long.theirs_best == 2 and long.theirs_mean > short.theirs_mean
    assert "200 letters: 1.6 and 2 by its scorer, 0 by ours" in blind.note([short, long])
