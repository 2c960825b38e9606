"""Training on fixed sets: the example configs on a tiny model, and rewards from verifiers in other processes."""

import sys
from collections import defaultdict
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerState

from data.problem import Problem
from data.sandbox import jail
from data.tasks import code
from train.__main__ import main
from train.rewards.correctness import CorrectnessReward
from train.rewards.rollout_log import RolloutLog

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def byte_tokenizer():
    """One token a byte, so that it can read and write anything."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, byte_tokenizer):
    """A tiny random model that stands in for one from the hub."""
    path = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    vocabulary = {"vocab_size": len(byte_tokenizer), "eos_token_id": byte_tokenizer.eos_token_id}
    LlamaForCausalLM(LlamaConfig(**vocabulary, **sizes, max_position_embeddings=4096)).save_pretrained(path)
    byte_tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("example", ["math-local", "code-local"])
def test_the_example_configs_train(example, pretrained, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(code, "_kind", None)
    if example == "code-local":
        try:
            jail.choose("auto")
        except ValueError as refusal:
            pytest.skip(str(refusal))
    arguments = [
        "--config",
        f"configs/examples/{example}.yaml",
        "--model",
        str(pretrained),
        "--runs_dir",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["train", *arguments, "--use_cpu", "true", "--max_completion_length", "8"])
    assert main() == 0, capfd.readouterr().err
    rows = ds.dataset(tmp_path / example / "rollouts.parquet").to_table().to_pylist()
    assert {row["step"] for row in rows} == {1, 2}
    assert {row["task"] for row in rows} == {example.removesuffix("-local")}
    assert not any(row["error"] for row in rows)
    assert Path(tmp_path / example / "checkpoints" / "checkpoint-2").exists()


def test_rewards_come_from_verifiers_in_other_processes(byte_tokenizer, tmp_path):
    reward = CorrectnessReward(byte_tokenizer, (byte_tokenizer.eos_token_id,), RolloutLog(tmp_path / "rollouts"))
    problem = Problem("math", "?", "math ?", {"answer": r"\frac{\sqrt{2}}{2}"})
    answers = [
        r"\boxed{\frac{1}{\sqrt{2}}}",
        r"\boxed{\sqrt{2}}",
        r"\boxed{9^{9^{9^{9}}}}",
        "Sorry, there was no answer to find.",
    ]
    logged = defaultdict(list)
    rewards = reward(
        completion_ids=[byte_tokenizer.encode(f"<think>Hm.</think> {answer}<end>") for answer in answers],
        problem=[problem.to_json()] * 4,
        split=["train"] * 4,
        trainer_state=TrainerState(global_step=0),
        log_metric=lambda name, value: logged[name].append(value),
    )
    assert rewards == [1.0, 0.0, 0.0, 0.0]
    assert logged["format"] == [1.0, 1.0, 1.0, 0.0]
    assert logged["verifier_errors"] == [0.0] * 4  # the tower is refused before it is parsed
