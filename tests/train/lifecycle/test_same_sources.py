"""A run is resumed with the model, the tokenizer and the user's code that it began with."""

import json

import pytest

from train.config.run_config import RunConfig
from train.lifecycle.same_start import SOURCES, refuse_others, source_digests

REWARD = "def brevity(completion_ids, **_):\n    return [0.0 for _ in completion_ids]\n"


@pytest.fixture
def refuse(tmp_path, checkpoint, tiny_model, tokenizer):
    """Hold a run's sources, as they are now, against those of the first call."""
    (tmp_path / "rewards.py").write_text(REWARD)
    (tmp_path / "traces.jsonl").write_text("{}\n")
    run = RunConfig(
        name="x", runs_dir=str(tmp_path / "runs"), model=str(checkpoint), tasks={"arithmetic": {}}, cold_start_steps=1,
        rewards={"correct": 1, f"{tmp_path}/rewards.py:brevity": 0.1}, cold_start_data=str(tmp_path / "traces.jsonl"),
    )  # fmt: skip
    (tmp_path / "environment.json").write_text(json.dumps({"sources": source_digests(run, tiny_model, tokenizer)}))
    return lambda: refuse_others(tmp_path, SOURCES, source_digests(run, tiny_model, tokenizer))


def test_sources_as_they_were_are_no_reason_to_refuse(refuse):
    refuse()


def test_a_reward_that_was_edited_is_refused(refuse, tmp_path):
    (tmp_path / "rewards.py").write_text(REWARD.replace("0.0", "1.0"))
    with pytest.raises(ValueError, match=r"The reward module .*rewards.py is not what it was when the run began"):
        refuse()


def test_traces_that_were_edited_are_refused_until_the_cold_start_is_done(refuse, tmp_path):
    (tmp_path / "traces.jsonl").write_text("{}\n{}\n")
    with pytest.raises(ValueError, match=r"The source .*traces.jsonl is not what it was"):
        refuse()


def test_another_model_under_the_same_name_is_refused(refuse, tiny_model):
    next(tiny_model.parameters()).data.mul_(1.01)
    with pytest.raises(ValueError, match=r"The model .*checkpoint is not what it was"):
        refuse()


def test_another_chat_template_is_refused(refuse, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", tokenizer.chat_template + " ")
    with pytest.raises(ValueError, match=r"The tokenizer of .*checkpoint is not what it was"):
        refuse()


@pytest.mark.parametrize("kept", ["x", [1], 3])
def test_digests_that_are_none_are_one_line(tmp_path, kept):
    (tmp_path / "environment.json").write_text(json.dumps({"sources": kept}))
    with pytest.raises(ValueError, match="not as `train` left it: sources is"):
        refuse_others(tmp_path, SOURCES, {"model": "x"})
