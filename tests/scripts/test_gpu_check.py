"""The table of `gpu_check.py`, from results as pytest and the benchmark write them."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import gpu_check

JUNIT = """<testsuites><testsuite>
<testcase name="test_replays_equal_eager_steps[a]"/>
<testcase name="test_replays_equal_eager_steps[b]"><failure>no</failure></testcase>
<testcase name="test_release"><skipped>no</skipped></testcase>
</testsuite></testsuites>"""


def test_cases_are_counted_by_test(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    path.write_text(JUNIT)
    assert gpu_check.test_rows(path) == [["replays equal eager steps", "1 passed, 1 failure"], ["release", "1 skipped"]]


def test_the_table_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    result = {
        "engine": "engine",
        "rows": 128,
        "replayed_share": 0.5,
        "tokens_per_second": 1234.5,
        "share_of_limit": 0.25,
        "ratio_to_generate": 3.0,
        "gpu_peak_memory_bytes": 2**21,
        "max_logprob_gap": 2e-5,
    }
    gpu_check.print_table(gpu_check.bench_rows("float32", [result]))
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == " ".join(gpu_check.COLUMNS).split()
    assert " ".join(row.split()) == "engine, float32, 128 rollouts 50% replayed 1234 25% 3.00 2 2.0e-05"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so_in_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    assert capsys.readouterr().out.splitlines() == [
        "gpu-check: no CUDA device on this machine; nothing was tested or timed."
    ]
