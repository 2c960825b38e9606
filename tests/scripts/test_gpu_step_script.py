"""The order and the tables of `gpu_step.py`; what it measures is for a card to say."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import gpu_step
from gpu_steps.clock import BYTES_PER_SECOND, Clock
from gpu_steps.models import MODELS, WEIGHTS, LastModel, build, tiny
from gpu_steps.parts import BEFORE_CALLS, measure
from gpu_steps.steps import PATHS, TIMED, cases, decoder_of, engine_of, norms_of
from gpu_steps.table import call_table, step_table

from train.rollout.interface import Sampling
from train.rollout.module_state import engine_mode

STEP = {
    "model": "smollm2-135m", "rows": 256, "context": 512, "weights": "bf16", "path": "fused", "forward": "fused layers",
    "ms": 1.5, "floor_ms": 0.75, "share_of_floor": 0.5, "launches": 276, "tokens_per_second": 170_667.0,
    "shadow_bytes": 0, "pool_bytes": 0, "peak_bytes": 3 * 2**30,
}  # fmt: skip


def test_the_most_telling_cases_come_first_and_none_is_left_out() -> None:
    listed = list(cases(True))
    assert listed[0] == ("qwen2.5-1.5b", 256, 512, "bf16", "fused")
    assert {case[0] for case in listed[:BEFORE_CALLS]} == set(MODELS)
    assert len(listed) == len(set(listed))
    grid = {(name, rows, context, weights) for name, rows, context, weights, _ in listed}
    assert len(grid) == len(MODELS) * 5 * 2 * len(WEIGHTS)
    paths = {path for name, rows, context, weights, path in listed if (rows, context, weights) == (256, 512, "bf16")}
    assert paths == set(PATHS)


def test_a_line_says_what_a_step_took_and_what_failed() -> None:
    head, line, failed = step_table([STEP, STEP | {"error": "out of memory"}], {}).splitlines()
    assert head.split() == [
        "model",
        "rows",
        "context",
        "weights",
        "path",
        "ms",
        "floor",
        "share",
        "launches",
        "tokens/s",
        "GiB",
        "forward",
    ]
    assert " ".join(line.split()) == "smollm2-135m 256 512 bf16 fused 1.50 0.75 50% 276 170667 3.0 fused layers"
    assert failed.endswith("fused         out of memory")


class Parts:
    """A report that keeps what it is given."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {"steps": [], "calls": [{}], "card": {BYTES_PER_SECOND: 1e9}}

    def save(self, part: str, value: Any) -> None:
        """As the real one, without a file."""
        if part == "steps":
            self.parts[part].append(value)
        else:
            self.parts[part] = value


@pytest.fixture
def stand_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases of one batch on a card, on small models, without the time that a step takes."""

    def model_alone(model_of: LastModel, name: str, clock: Clock, *cell: Any) -> dict[str, float]:
        model_of(name, cell[2])
        return {"ms": 1.0}

    monkeypatch.setattr("gpu_steps.parts.BEFORE_CALLS", -1)
    monkeypatch.setattr("gpu_steps.parts.step", model_alone)
    monkeypatch.setattr("gpu_steps.steps.GRID", [(256, 512)])
    monkeypatch.setattr("gpu_steps.models.MODELS", dict.fromkeys(MODELS, tiny))


@pytest.mark.usefixtures("stand_in_steps")
def test_without_peft_the_cells_of_lora_alone_are_left_out_and_the_table_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpu_steps.models.find_spec", lambda name: None)
    report, clock = Parts(), Clock(torch.device("cpu"), 1e9)
    clock.on_card = True
    measure(report, clock)
    columns = ("model", "rows", "context", "weights", "path")
    timed = {tuple(each[column] for column in columns) for each in report.parts["steps"]}
    assert timed == {case for case in cases(True) if case[3] != "LoRA"}
    assert step_table([], report.parts["left_out"]).splitlines()[-1] == "weights LoRA left out: peft is not installed"


@pytest.mark.usefixtures("stand_in_steps")
def test_a_model_that_cannot_be_built_ends_its_own_cells_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails, as where a part of it is missing
    monkeypatch.setattr("gpu_steps.models.find_spec", lambda name: True)
    report, clock = Parts(), Clock(torch.device("cpu"), 1e9)
    clock.on_card = True
    measure(report, clock)
    assert {each["weights"] for each in report.parts["steps"] if "error" in each} == {"LoRA"}
    assert {each["weights"] for each in report.parts["steps"] if "ms" in each} == {"bf16", "autocast"}
    assert report.parts["left_out"] == {}


def test_a_line_says_what_a_call_took_and_vllm_beside_it() -> None:
    ours = {
        "model": "tiny", "weights": "bf16", "path": "fused", "rollouts": 4, "tokens": 8, "seconds": 2.0,
        "tokens_per_second": 16.0, "mean_gap": 0.01, "largest_gap": 0.1, "peak_bytes": 2**30,
    }  # fmt: skip
    theirs = {"model": "tiny", "path": "vLLM", "rollouts": 4, "tokens": 8, "seconds": 4.0, "tokens_per_second": 8.0}
    lines = call_table([ours, theirs, {"model": "tiny", "path": "vLLM", "skipped": "not installed"}]).splitlines()
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "tiny 4 8 bf16 fused 2.00 16 1.0e-02 1.0e-01 1.0",
        "tiny 4 8 bf16 vLLM 4.00 8",
        "tiny vLLM not installed",
    ]


def test_the_rows_of_a_timed_step_share_no_page_and_stay_within_their_own() -> None:
    model = build("tiny", "float32", torch.device("cpu"))
    engine = engine_of(model, 4, "as it was")
    sampling = Sampling(2, ())
    engine.generate([[3, *range(5, 62)]], 1, sampling)
    with engine_mode(model), norms_of(engine):
        decoder = decoder_of(engine, 4, 60)
        table = decoder._batch.table[:4].flatten().tolist()
        assert len(set(table)) == 4 * 4 and 0 not in table
        before = decoder.pool.keys[0].clone()
        decoder.decode(sampling)
    changed = (decoder.pool.keys[0] != before).flatten(2).any(-1).nonzero().tolist()
    assert sorted(page for page, _ in changed) == sorted(decoder._batch.table[:4, (60 - 1 - TIMED) // 16].tolist())
    assert decoder.state.cached[:4].tolist() == [60 - TIMED] * 4
    assert decoder.state.drawn[:4].tolist() == [1] * 4
    engine.release()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_step.py"])
    assert gpu_step.main() == 2
    assert capsys.readouterr().out.startswith("gpu-step: no CUDA device on this machine; ")
