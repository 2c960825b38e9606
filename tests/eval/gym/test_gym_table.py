"""The table of which gym tasks a model can start on."""

import json

import pytest
from scripted import Scripted, chat_tokenizer

from data.problem import Problem
from data.tasks import gym
from eval.gym.table import answers, easiest_problems, measure_tasks, render
from eval.settings import GymSettings
from train.rollout.interface import Rollout

pytest.importorskip("reasoning_gym")
SMALL = GymSettings(problems=3, samples=4)
TOKENIZER = chat_tokenizer()


class Knowing(Scripted):
    """Says the same word to every problem, but for every other sample."""

    def generate(self, prompts, samples_per_prompt, sampling, on_finished=None):
        rollouts = super().generate(prompts, samples_per_prompt, sampling, on_finished)
        silent = Rollout([self.tokenizer.eos_token_id], "stop")
        return [rollout if place % 2 else silent for place, rollout in enumerate(rollouts)]


def model(reply):
    return Knowing(TOKENIZER, lambda prompt: reply), TOKENIZER, (TOKENIZER.eos_token_id,)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" Yes", True), (": Yes.", True), (" yes, it logically follows", True), (' "Yes". If all', True),
        ("\nYes", True), (" no. Yes", False), (" not Yes", False), ("", False), (" Yesterday", False),
    ],
)  # fmt: skip
def test_an_answer_is_found_in_the_way_that_models_say_it(text, right):
    problem = Problem("gym:syllogism", "?", "?", {"entry": {"answer": "Yes", "metadata": {}}})
    assert answers(problem, text) == right


def test_a_task_is_measured_at_its_easiest(monkeypatch):
    given, problems = easiest_problems("chain_sum", SMALL)
    assert given == {"max_terms": 2, "max_digits": 1} and len(problems) == 3
    given, problems = easiest_problems("rotate_matrix", SMALL)  # its first level has larger matrices than its default
    assert given == {}
    assert all(len(problem.prompt) < 600 for problem in problems)


def test_where_a_first_level_is_out_of_the_tasks_own_range_its_defaults_are_measured():
    given, problems = easiest_problems("knight_swap", SMALL)
    assert given == {} and len(problems) == 3


def test_rows_count_right_samples_and_mixed_groups_and_are_never_measured_again(tmp_path):
    kept = tmp_path / "rows" / "model.jsonl"
    (row,) = measure_tasks(["syllogism"], *model(" Yes."), SMALL, kept)
    assert (row["of"], row["groups"]) == (12, 3)
    assert row["right"] == 2 * row["mixed"] > 0  # half of each group says yes, which is right or wrong for all of it
    assert json.loads(kept.read_text())["asked"]["problems"] == 3
    rows = measure_tasks(["syllogism", "chain_sum"], *model(" none."), SMALL, kept)
    assert rows[0] == row and rows[1]["right"] == 0
    with pytest.raises(ValueError, match="holds rows of other settings"):
        measure_tasks(["syllogism"], *model(""), GymSettings(problems=4), kept)


def test_what_is_out_of_reach_is_left_out_and_said(tmp_path):
    few = GymSettings(problems=2, samples=2, prompt_tokens=100)
    (row,) = measure_tasks(["leg_counting"], *model(""), few, tmp_path / "a")
    assert row["left_out"].startswith("prompts of ") and "right" not in row
    (row,) = measure_tasks(
        ["spell_backward"], *model(""), GymSettings(problems=2, samples=2, answer_tokens=1), tmp_path / "b"
    )
    assert row["left_out"] == "answers of 3 tokens"


def test_the_page_has_a_line_for_each_task_with_its_interval_and_the_command():
    rows = [
        {"task": "b", "settings": {}, "right": 0, "of": 64, "mixed": 0, "groups": 8, "answer_tokens": 3, "seconds": 1},
        {"task": "a", "settings": {"n": [1]}, "right": 32, "of": 64, "mixed": 4, "groups": 8, "answer_tokens": 3,
         "seconds": 2},
        {"task": "c", "left_out": "answers of 99 tokens"},
    ]  # fmt: skip
    page = render(rows, "a-model", GymSettings(), "python scripts/gym_table.py")
    lines = [line for line in page.splitlines() if line.startswith("| gym:")]
    assert lines[0] == "| gym:a | n: [1] | 50.0 [38.1, 61.9] | 50 | 3 | 2 |"
    assert lines[1].startswith("| gym:b | defaults | 0.0 [0.0, 5.7] | 0 |") and len(lines) == 2
    assert "1 of the 2 tasks have any" in page and "gym:c (answers of 99 tokens)" in page
    assert "`python scripts/gym_table.py`" in page and gym.REFUSED["composite"] in page
    assert "- gym:gcd: min_numbers: 2, max_numbers: 2, min_value: 1, max_value: 1000" in page


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="samples is 1; expected a whole number, 2 or more"):
        GymSettings(samples=1)
