from collections import Counter, defaultdict

import pyarrow.dataset as ds
import pytest
from transformers import TrainerState

from data.problem import Problem
from train.rewards.correctness import EPSILON, CorrectnessReward, repetition
from train.rewards.rollout_log import RolloutLog

PROBLEM = Problem("arithmetic", "compute 36 * 4", "arithmetic 4 36 = 144", {"expression": "36 * 4", "target": 144})


@pytest.fixture
def reward(tokenizer, tmp_path):
    return CorrectnessReward(tokenizer, (tokenizer.eos_token_id,), RolloutLog(tmp_path / "rollouts.parquet"))


def ask(reward, tokenizer, completions, step=0, split="train", problem=PROBLEM):
    """Rewards of the completions, and the metrics logged; a completion without <|end|> was cut off."""
    values = defaultdict(list)
    rewards = reward(
        completion_ids=[tokenizer.encode(text) for text in completions],
        problem=[problem.to_json()] * len(completions),
        split=[split] * len(completions),
        trainer_state=TrainerState(global_step=step),
        log_metric=lambda name, value: values[name].append(value),
    )
    return rewards, {name: sum(found) / len(found) for name, found in values.items()}


def test_only_a_correct_well_formed_finished_answer_scores(reward, tokenizer):
    rewards, logged = ask(
        reward,
        tokenizer,
        [
            "<think> for 36 * 4 :</think> 144<|end|>",
            "<think> for 36 * 4 :</think> 145<|end|>",
            "<think></think> 144<|end|>",
            "144<|end|>",
            "<think> 144<|end|>",
            "<think> for 36 * 4 :</think> 144",
        ],
    )
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert logged["accuracy"] == pytest.approx(1 / 6)
    assert logged["truncated"] == pytest.approx(1 / 6)


def test_every_rollout_is_written_with_its_verdict(reward, tokenizer, tmp_path):
    ask(reward, tokenizer, ["<think> so 144</think> 144<|end|>", "<think> so 1</think> 145<|end|>"], step=4)
    rows = ds.dataset(tmp_path / "rollouts.parquet").to_table().to_pylist()
    assert [row["step"] for row in rows] == [5, 5]
    assert [row["reason"] for row in rows] == ["correct", "145, not 144"]
    assert rows[0]["completion_ids"] == tokenizer.encode("<think> so 144</think> 144<|end|>")
    assert rows[0]["thinking_tokens"] == 4
    assert Problem.from_json(rows[0]["problem"]) == PROBLEM


def test_a_verifier_that_fails_is_counted_and_scores_nothing(reward, tokenizer):
    broken = Problem("arithmetic", "compute 1", "x", {})
    rewards, logged = ask(reward, tokenizer, ["<think> so 1</think> 1<|end|>"], problem=broken)
    assert rewards == [0.0]
    assert logged["verifier_errors"] == 1


def test_a_step_run_again_replaces_its_rollouts_and_later_ones_can_be_forgotten(reward, tokenizer, tmp_path):
    for step in (0, 1, 2, 1):
        ask(reward, tokenizer, ["<think> so 1</think> 1<|end|>"], step=step)
    folder = tmp_path / "rollouts.parquet"
    assert ds.dataset(folder).count_rows() == 3
    reward.log.forget_after(2)
    assert sorted(row["step"] for row in ds.dataset(folder).to_table().to_pylist()) == [1, 2]
    assert not list(folder.glob("*.partial"))


def test_the_batches_of_one_evaluation_stand_side_by_side(reward, tokenizer, tmp_path):
    for _ in range(2):
        ask(reward, tokenizer, ["<think> so 1</think> 1<|end|>"], step=10, split="validation")
    assert ds.dataset(tmp_path / "rollouts.parquet").count_rows() == 2


def test_a_part_cut_off_by_a_kill_is_neither_read_nor_kept(reward, tokenizer, tmp_path, monkeypatch):
    def half(table, path):
        path.write_bytes(b"PAR1")
        raise KeyboardInterrupt

    ask(reward, tokenizer, ["<think> so 144</think> 144<|end|>"], step=0)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("train.rewards.rollout_log.pq.write_table", half)
        ask(reward, tokenizer, ["<think> so 144</think> 144<|end|>"], step=1)
    folder = tmp_path / "rollouts.parquet"
    (folder / ".train-000001-rank0-000.parquet.partial").write_bytes(b"PAR1")  # what a kill would have left
    assert [row["step"] for row in ds.dataset(folder).to_table().to_pylist()] == [1]
    reward.log.forget_after(1)
    assert len(list(folder.iterdir())) == 1


def test_what_was_left_out_of_the_update_is_written_beside_it_and_marked(reward, tokenizer, tmp_path):
    ids = [tokenizer.encode(text) for text in ("<think> so 144</think> 144<|end|>", "<think> so 1</think> 145<|end|>")]
    rows = reward.judge([PROBLEM] * 2, ids)
    assert [row["reward"] for row in rows] == [1.0, 0.0]
    reward.log.write(rows, 1, "train", left_out=True)
    ask(reward, tokenizer, ["<think> so 1</think> 1<|end|>"] * 3)
    rows = ds.dataset(tmp_path / "rollouts.parquet").to_table().to_pylist()
    assert Counter((row["step"], row["left_out"]) for row in rows) == {(1, True): 2, (1, False): 3}


def test_what_has_been_judged_is_not_judged_again(reward, tokenizer):
    rows = reward.judge([PROBLEM] * 2, [[1], [2]])
    rewards = reward(
        completion_ids=[[1], [2]],
        problem=[PROBLEM.to_json()] * 2,
        split=["train"] * 2,
        trainer_state=TrainerState(),
        log_metric=lambda *_: None,
        judged_rows=[row | {"reward": 7.0} for row in rows],
    )
    assert rewards == [7.0, 7.0]


def rows_of(*rewards, truncated=()):
    return [{"reward": value, "truncated": place in truncated} for place, value in enumerate(rewards)]


def test_a_group_is_as_useful_as_its_counted_advantages_are_large(reward):
    assert reward.spread(rows_of(1, 0, 1, 0)) == 0.5
    assert reward.spread(rows_of(1, 1, 1)) == reward.spread(rows_of(0, 0, 0, truncated=(0, 1, 2))) == 0
    assert 0 < reward.spread(rows_of(0.1 + 0.2, 0.3, 0.3)) < EPSILON  # rounding teaches nothing
    assert (
        reward.spread(rows_of(1, 0, 0, 0, truncated=(1, 2, 3))) == 0.75 / 2
    )  # the right one is still better than they


def test_samples_that_are_masked_teach_nothing_unless_they_are_not_masked(reward):
    group = rows_of(1, 0, truncated=(0, 1))
    assert reward.spread(group) == 0
    reward.mask_truncated = False
    assert reward.spread(group) == 0.5


def test_the_share_of_useful_groups_and_of_those_in_the_band_is_logged(reward, tokenizer):
    right, wrong = "<think> so 144</think> 144<|end|>", "<think> so 1</think> 1<|end|>"
    other = Problem("arithmetic", "compute 12 * 12", "arithmetic 12 12 = 144", {"expression": "12 * 12", "target": 144})
    values = defaultdict(list)
    texts = [*[right] * 9, wrong, *[right] * 5, *[wrong] * 5]  # nine in ten of one, five in ten of the other
    rewards = reward(
        completion_ids=[tokenizer.encode(text) for text in texts],
        problem=[PROBLEM.to_json()] * 10 + [other.to_json()] * 10,
        split=["train"] * 20,
        trainer_state=TrainerState(),
        log_metric=lambda name, value: values[name].append(value),
    )
    assert sum(rewards) == 14
    assert (values["useful_groups"], values["groups_in_band"]) == ([1.0, 1.0], [0.0, 1.0])
    _, logged = ask(reward, tokenizer, [right], split="validation")
    assert "useful_groups" not in logged


def test_repetition_is_the_share_of_n_grams_seen_before():
    assert repetition(list(range(20))) == 0
    assert repetition([1, 2, 3]) == 0
    assert repetition([7] * 13) == pytest.approx(0.9)  # ten 4-grams, all alike
