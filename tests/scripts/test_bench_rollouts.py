"""How the rows of the rollout benchmark are related to each other, and what it takes as their limit."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_rollouts


def test_rows_are_related_to_both_limits_and_to_the_engines_beside_them() -> None:
    ours = {"engine": "engine", "tokens_per_second": 60.0, "limit": 100.0, "packed_limit": 120.0}
    rows = [ours, {"engine": "vllm", "tokens_per_second": 30.0}, {"engine": "generate", "tokens_per_second": 10.0}]
    bench_rollouts.relate(rows)
    names = ("share_of_limit", "share_of_packed", "ratio_to_vllm", "ratio_to_generate")
    assert [[row[name] for name in names] for row in rows] == [
        [0.6, 0.5, 2.0, 6.0],
        [0.3, 0.25, 1.0, 3.0],
        [0.1, pytest.approx(1 / 12), pytest.approx(1 / 3), 1.0],
    ]


def test_what_was_not_measured_is_left_open() -> None:
    unpacked = {"engine": "engine", "tokens_per_second": 60.0, "limit": 100.0, "packed_limit": None}
    bench_rollouts.relate([unpacked])
    assert unpacked["share_of_limit"] == 0.6 and unpacked["share_of_packed"] is None
    alone = {"engine": "vllm", "tokens_per_second": 30.0}
    bench_rollouts.relate([alone])
    assert alone["share_of_limit"] is None and alone["ratio_to_generate"] is None


def test_the_limit_is_that_of_every_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))
    ticks = iter(range(100))  # each look at the clock is a second later
    monkeypatch.setattr(bench_rollouts.time, "perf_counter", lambda: next(ticks))
    assert bench_rollouts.limit_tokens_per_second(model, 5) == 5.0
