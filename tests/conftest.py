"""What tests share: a tiny scratch model saved as a checkpoint, and one thread, so that tests run well side by side."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from train.model.scratch import build_model, build_tokenizer

torch.set_num_threads(1)
hypothesis.settings.register_profile("rethink", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("rethink")
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
}


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture
def tiny_model(tokenizer) -> PreTrainedModel:
    torch.manual_seed(0)
    return build_model(TINY, tokenizer)


@pytest.fixture
def checkpoint(tmp_path, tiny_model, tokenizer):
    """A folder with a tiny model and its tokenizer, as a checkpoint has them."""
    path = tmp_path / "checkpoint"
    tiny_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
