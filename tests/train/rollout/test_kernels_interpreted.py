"""The Triton kernels in Triton's interpreter: each file of triton_kernels/ that needs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is there on Linux alone")

FOLDER = Path(__file__).parent / "triton_kernels"
FILES = sorted(path.name for path in FOLDER.glob("test_*.py") if path.name != "test_compile_ahead.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("file", FILES)
def test_the_kernels_are_right_in_the_interpreter(file: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", str(FOLDER / file)],
        cwd=ROOT,
        env=inherited | {"TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
