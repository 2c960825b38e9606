"""The engine's share of the memory."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.memory import memory_budget, return_freed_memory, working_bytes


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


def test_what_a_step_works_in_counts_within_the_limit(llama) -> None:
    sampling = Sampling(max_new_tokens=60, stop_ids=())
    engine = RolloutEngine(llama, cache_gib=0.004, max_rows=64)
    engine.generate([[5, 6, 7]], 64, sampling)
    block = 32 * sum(layer.bytes_per_token for layer in engine.layers)
    working = working_bytes(llama, 64, 3)
    assert 0 < working < engine.pool_bytes / 4
    assert engine.stats.block_limit == (engine.pool_bytes - working) // block
    engine = RolloutEngine(llama, cache_gib=working / 2**30, max_rows=64)  # never more than a quarter
    engine.generate([[5, 6, 7]], 64, sampling)
    assert engine.stats.block_limit == (engine.pool_bytes - engine.pool_bytes // 4) // block


HOLES = """
import psutil, torch
from train.rollout.memory import keep_freed_memory, own_mappings
keep_freed_memory()
def held(): return psutil.Process().memory_info().rss
def made(): return [torch.ones(2**18) for _ in range(64)]
with own_mappings():
    mapped = made()
before = held()
pins = [torch.ones(8) for _ in range(64)]
del mapped
print(before - held())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_is_mapped_alone_goes_back_when_it_is_freed_and_the_heap_keeps_the_rest() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    freed = int(done.stdout.split()[0])
    assert freed > 60 * 2**20  # 64 tensors of 1 MiB


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_freed_memory_is_returned() -> None:
    pieces = [torch.ones(2**16) for _ in range(800)]
    pins = pieces[::2]  # so that what is freed lies in holes
    before = psutil.Process().memory_info().rss
    del pieces
    return_freed_memory()
    assert before - psutil.Process().memory_info().rss > 80 * 2**20
    assert len(pins) == 400


def test_another_c_library_is_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    return_freed_memory()
