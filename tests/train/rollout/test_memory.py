"""The engine's share of the memory."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from train.rollout.memory import memory_budget


@pytest.mark.parametrize(("processes", "share"), [(None, 512), ("1", 512), ("4", 128)])
def test_the_processes_of_a_machine_share_half_of_its_free_memory(monkeypatch, processes, share) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1024))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert memory_budget(None, torch.device("cpu")) == share


def test_what_is_asked_for_is_for_each_process(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_budget(0.5, torch.device("cpu")) == 2**29
