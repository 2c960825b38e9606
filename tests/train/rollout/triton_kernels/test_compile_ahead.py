"""The kernels compile for GPUs that are not here, without spilling, within the registers seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
CEILINGS = {
    "decode_kernel": 176,  # of 256-wide heads; 72 of 64-wide ones
    "combine_kernel": 72,
    "prefill_kernel": 216,
    "residual_norm_kernel": 72,
    "rope_write_kernel": 96,
    "gated_kernel": 40,
    "prepare_kernel": 40,
    "block_sums_kernel": 64,
    "pick_kernel": 96,
    "advance_kernel": 96,
    "product_kernel": 128,
}


# Hopper has the registers of Ampere and more to share, so what fits is known from Ampere; each takes ten seconds.
@pytest.mark.parametrize("arch", [80, pytest.param(90, marks=pytest.mark.slow)], ids=["ampere", "hopper"])
def test_kernels_compile_without_spills(tmp_path: Path, arch: int) -> None:
    script = Path(__file__).with_name("compile_ahead.py")
    changes = {"TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(script), str(arch)]
    output = subprocess.run(command, env=os.environ | changes, stdout=subprocess.PIPE, text=True, check=True).stdout
    compiled = [json.loads(line) for line in output.splitlines()]
    assert {(line["kernel"].split()[0], line["arch"]) for line in compiled} == {(kernel, arch) for kernel in CEILINGS}
    assert [line for line in compiled if line["spilled"]] == []
    assert [line for line in compiled if line["registers"] > CEILINGS[line["kernel"].split()[0]]] == []
    # What a block may share on Ampere's smaller chips (sm_86) is 99 KiB.
    assert [line for line in compiled if line["shared"] > 99 * 1024] == []
