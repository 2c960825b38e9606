"""One thread: the models here are so small that threads only wait for each other."""

import pytest
import torch
from rollout_models import scratch_llama
from transformers import PreTrainedModel


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def llama() -> PreTrainedModel:
    """A fresh random Llama."""
    return scratch_llama()
