"""The engine's share of the memory."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.memory import keep_freed_memory, memory_budget, own_mappings, return_freed_memory, working_bytes


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
from train.rollout.memory import keep_freed_memory, own_mappings, return_freed_memory
def held(): return psutil.Process().memory_info().rss / 2**20
def made(count): return [torch.ones(2**18) for _ in range(count)]  # 1 MiB each
def freed_by(pieces, *then):
    pins = torch.ones(8)  # above them in the heap
    before = held()
    del pieces[:]
    for step in then: step()
    return before - held()
keep_freed_memory()
with own_mappings(): pieces = made(64)
print(freed_by(pieces))
try:
    with own_mappings(): raise KeyError
except KeyError:
    pieces = made(64)
print(freed_by(pieces))
pieces = made(128)
print(freed_by(pieces, return_freed_memory))
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_the_heap_keeps_what_is_freed_but_for_what_is_mapped_alone_and_what_is_told_to_go() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, cwd=root)
    alone, kept, told = map(float, done.stdout.split())
    assert alone > 60 and kept < 4 and told > 120


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch, error) -> None:
    asked = []

    def none(name: object) -> None:
        asked.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", none)
    keep_freed_memory()
    return_freed_memory()
    with own_mappings():
        pass
    assert len(asked) == 5  # two settings, the return, and one before and after
