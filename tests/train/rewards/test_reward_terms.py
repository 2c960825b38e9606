"""Rewards by configuration: what is refused, what is summed and logged, and what a user's function may do wrong."""

import json

import pyarrow.dataset as ds
import pytest
import torch
from resuming import launch, write_config

from data.problem import Verdict
from train.config.reward_terms import Term, read_terms
from train.model.judged import score
from train.rewards.functions import OverlongReward
from train.rewards.own import OwnReward, RewardError, checked, load_reward


@pytest.mark.parametrize(
    ("rewards", "terms"),
    [
        (None, [Term("correct", "correct")]),
        (["correct", "format"], [Term("correct", "correct"), Term("format", "format")]),
        ("correct, score", [Term("correct", "correct"), Term("score", "score")]),
        ('{"format": 0.2, "correct": 1}', [Term("correct", "correct"), Term("format", "format", 0.2)]),
        ({"score": 1}, [Term("correct", "correct", 0.0), Term("score", "score")]),
        (
            {"overlong": {"weight": 0.5, "buffer": 8}},
            [Term("correct", "correct", 0.0), Term("overlong", "overlong", 0.5, 8)],
        ),
        ({"a/b.py:short": 2}, [Term("correct", "correct", 0.0), Term("short", "a/b.py:short", 2.0)]),
    ],
)
def test_rewards_are_a_list_or_a_mapping_and_correct_comes_first(rewards, terms):
    assert read_terms(rewards) == terms


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([], "expected a list"),
        (3, "expected a list"),
        (["corect"], "'corect'"),
        (["a.py:"], "'a.py:'"),
        ({"correct": 0}, "every weight is 0"),
        ({"correct": float("nan")}, "nan"),
        ({"correct": True}, "True"),
        ({"format": -1}, "-1"),
        ({"format": {"buffer": 3}}, "'buffer'"),
        ({"overlong": {"buffer": 0}}, "overlong.buffer is 0"),
        (["a.py:short", "b.py:short"], "'short'"),
        (["a.py:correct", "correct"], "'correct'"),
    ],
)
def test_rewards_that_cannot_be_are_refused_by_name(rewards, words):
    with pytest.raises(ValueError, match="rewards") as refused:
        read_terms(rewards)
    assert words in str(refused.value)


def test_a_verdict_without_a_score_of_its_own_scores_what_correct_says():
    assert score(Verdict(True, True, "")) == 1.0
    assert score(Verdict(False, True, "")) == 0.0
    assert score(Verdict(False, True, "", score=0.25)) == 0.25


def test_the_punishment_of_length_falls_from_0_to_minus_1_within_the_buffer():
    rewards = OverlongReward(10, 4)(completion_ids=[[0] * count for count in (1, 6, 7, 8, 10)])
    assert rewards == [0, 0, -0.25, -0.5, -1]


@pytest.mark.parametrize("values", [None, 1.0, "11", {0: 1, 1: 2}, [1.0], [1, 2, 3], [1, "2"], [1, float("nan")],
                                    [1, 10**400], [1, torch.ones(2)], [1, 1j], iter([1, 2]), {1, 2}, "ab"])  # fmt: skip
def test_a_reward_gives_one_finite_number_for_each_completion(values):
    with pytest.raises(RewardError, match=r"The reward a\.py:f gave"):
        checked("a.py:f", values, 2)


def test_none_says_that_a_reward_does_not_apply():
    assert checked("a.py:f", [None, True], 2) == [None, 1.0]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def g(): ...", "no function 'f'; it has: g"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("import sys\nsys.exit(0)", "cannot be imported: SystemExit: 0"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("import no_such_package", "cannot be imported: ModuleNotFoundError"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("f = 3", "no function 'f'; it has: none"),
        ("from eval.probes.monitor import flags\ndef f(): ...", "imports eval.probes.monitor"),
        ("def f():\n    import eval.probes.monitor", "imports eval.probes.monitor"),
        ("import importlib\ndef f():\n    importlib.import_module('eval.measures')", "imports eval.measures"),
    ],
)
def test_a_module_without_the_function_or_with_the_evaluation_in_it_is_refused(tmp_path, source, words):
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(ValueError, match=r"own\.py") as refused:
        load_reward(f"{tmp_path}/own.py:f")
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(completions): ...", "unexpected keyword argument 'completion_ids'; end its arguments with **_"),
        ("def f(**_):\n    raise RuntimeError('sizes\\n  differ')", "failed: RuntimeError: sizes differ, in line 2"),
        ("def f(**_):\n    raise SystemExit(0)", "failed: SystemExit: 0"),
        ("def f(**_):\n    raise ValueError('x' * 5000)", "..."),
        ("class f:\n    def __init__(self, **_): ...", "expected a list of 1 numbers"),
        ("def f(**_):\n    yield 1.0", "expected a list of 1 numbers"),
        ("async def f(**_):\n    raise KeyError('a')", "failed: KeyError: 'a', in line 2"),
        (
            "def f(**_):\n    return int(\n        'x')",
            "failed: ValueError: invalid literal for int() with base 10: 'x', in line 2",
        ),
        ("import math\n\ndef g():\n    math.sqrt(-1)\n\ndef f(**_):\n    g()", ", in line 4"),
    ],
)
def test_whatever_a_function_does_wrong_is_one_line(tmp_path, source, words):
    (tmp_path / "own.py").write_text(source)
    reward = OwnReward(f"{tmp_path}/own.py:f")
    with pytest.raises(RewardError) as failed:
        reward(completion_ids=[[0]], completions=["x"])
    assert words in str(failed.value) and "\n" not in str(failed.value) and len(str(failed.value)) < 600


OWN = """
CALLS = []

def short(completions, prompts, completion_ids, rollouts, split, **columns):
    CALLS.append(len(completions))
    assert completions[0][0]["role"] == "assistant" and len(rollouts) == len(prompts)
    return [-len(ids) / 12 for ids in completion_ids]

async def later(completion_ids, **columns):
    return [1.0] * len(completion_ids)

def too_late(completions, trainer_state, **columns):
    if trainer_state.global_step:
        raise KeyError("no such step")
    return [0.0] * len(completions)

def picky(completions):
    return [0.0] * len(completions)
"""


def test_rewards_of_ones_own_are_weighted_summed_and_logged_apart_and_the_record_stays_binary(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    rewards = {"correct": 1, "format": 0.5, f"{tmp_path}/own.py:short": 0.1, f"{tmp_path}/own.py:later": 2}
    config = write_config(tmp_path, rewards=rewards, max_steps=1, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = next(line for line in lines if "reward" in line)
    means = {name: logged[f"rewards/{name}/mean"] for name in ("correct", "format", "short", "later")}
    assert -1 <= means["short"] < 0 and means["later"] == 1
    total = means["correct"] + 0.5 * means["format"] + 0.1 * means["short"] + 2 * means["later"]
    assert logged["reward"] == pytest.approx(total, abs=1e-3)
    rows = ds.dataset(tmp_path / "run" / "rollouts.parquet").to_table().to_pylist()
    assert {row["reward"] for row in rows} == {float(row["correct"]) for row in rows} <= {0.0, 1.0}


def test_a_list_in_the_config_file_is_taken_and_a_reward_that_raises_in_training_ends_it_with_its_name(
    tmp_path, capsys
):
    (tmp_path / "own.py").write_text(OWN)
    rewards = ["correct", f"{tmp_path}/own.py:too_late"]
    config = write_config(tmp_path, rewards=rewards, max_steps=2, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 3
    assert "own.py:too_late failed: KeyError: 'no such step'" in capsys.readouterr().err


def test_a_reward_that_cannot_be_called_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN)
    config = write_config(tmp_path, rewards=[f"{tmp_path}/own.py:picky"])
    assert launch(config, "--name", "run") == 2
    assert "own.py:picky failed: TypeError" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_expert_iteration_knows_no_other_reward(tmp_path, capsys):
    config = write_config(tmp_path, rewards=["correct", "format"], method="rft")
    assert launch(config, "--name", "run") == 2
    assert "method is rft" in capsys.readouterr().err
