"""How the rows of the rollout benchmark are related to each other, and what it takes as their limit."""

import sys
from pathlib import Path

import psutil
import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_rollouts

from eval.speed import engines, matrix_products
from eval.speed.other_engines import ContinuousBatching


def test_rows_are_related_to_both_limits_and_to_the_engines_beside_them() -> None:
    ours = {"engine": "engine", "tokens_per_second": 60.0, "limit": 100.0, "packed_limit": 120.0}
    rows = [ours, {"engine": "vllm", "tokens_per_second": 30.0}, {"engine": "generate", "tokens_per_second": 10.0}]
    engines.relate(rows)
    names = ("share_of_limit", "share_of_packed", "ratio_to_vllm", "ratio_to_generate")
    assert [[row[name] for name in names] for row in rows] == [
        [0.6, 0.5, 2.0, 6.0],
        [0.3, 0.25, 1.0, 3.0],
        [0.1, pytest.approx(1 / 12), pytest.approx(1 / 3), 1.0],
    ]


def test_what_was_not_measured_is_left_open() -> None:
    unpacked = {"engine": "engine", "tokens_per_second": 60.0, "limit": 100.0, "packed_limit": None}
    engines.relate([unpacked])
    assert unpacked["share_of_limit"] == 0.6 and unpacked["share_of_packed"] is None
    alone = {"engine": "vllm", "tokens_per_second": 30.0}
    engines.relate([alone])
    assert alone["share_of_limit"] is None and alone["ratio_to_generate"] is None


def test_a_share_by_processor_time_does_not_change_with_other_work_on_the_machine() -> None:
    ours = {"engine": "engine", "tokens": 600, "limit": 100.0, "packed_limit": None, "processor_limit": 50.0}
    for seconds in (10.0, 40.0):  # the second time a quarter of the machine was left
        row = ours | {"tokens_per_second": 600 / seconds, "processor_seconds": 20.0}
        engines.relate([row])
        assert row["share_by_processor"] == 0.6


def test_the_best_of_all_measurements_of_the_products_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([(2.0, 3.0), (1.0, 4.0), (5.0, 2.0)])
    monkeypatch.setattr(matrix_products, "product_seconds", lambda model, rows: next(measured))
    monkeypatch.setattr(matrix_products, "packed_bytes", lambda model: 0)
    products = matrix_products.Products(rows=10)
    for _ in range(3):
        products.take(torch.nn.Identity())
    assert products.limits() == {"limit": 10.0, "packed_limit": None, "processor_limit": 5.0}


def test_a_model_that_is_nowhere_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_rollouts.py", "--model", "no such model"])
    assert bench_rollouts.main() == 2
    assert capsys.readouterr().err.startswith("error: no such model")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engines", "engine,foo"], "--engines has 'foo'; expected some of: engine, generate"),
        (["--prompts", "0"], "--prompts is 0; expected at least 1"),
        (["--max-new-tokens", "-1"], "--max-new-tokens is -1"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(script, words, message) -> None:
    done = script("bench_rollouts", *words)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_limit_is_that_of_every_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))
    ticks = iter(range(100))  # each look at the clock is a second later
    monkeypatch.setattr(matrix_products.time, "perf_counter", lambda: next(ticks))
    assert matrix_products.limit_tokens_per_second(model, 5) == 5.0


def test_continuous_batching_gets_the_engines_memory_and_not_the_machines() -> None:
    model = torch.nn.Linear(2, 2)
    limited, free = ContinuousBatching(model, 0.5), ContinuousBatching(model, None)
    total = psutil.virtual_memory().total
    assert limited.config.max_memory_percent * total == pytest.approx(0.5 * 2**30)
    assert free.config.max_memory_percent * total <= 0.6 * psutil.virtual_memory().available
