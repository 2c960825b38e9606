"""The Triton kernels in Triton's interpreter: the files of triton_kernels/ that need it, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is there on Linux alone")

FOLDER = Path(__file__).parent / "triton_kernels"
FILES = {path.name for path in FOLDER.glob("test_*.py")} - {"test_compile_ahead.py"}
ROOT = Path(__file__).parents[3]
# Two processes, about as long as each other, and not four: each imports torch and transformers.
WHOLE_MODELS = {"test_fused_decoding.py"}


@pytest.mark.parametrize("files", [WHOLE_MODELS, FILES - WHOLE_MODELS], ids=["whole models", "kernel by kernel"])
def test_the_kernels_are_right_in_the_interpreter(files: set[str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *(FOLDER / file for file in sorted(files)),
        ],
        cwd=ROOT,
        env=inherited | {"TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
