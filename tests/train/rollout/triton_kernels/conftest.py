"""These run in Triton's interpreter, in float16 and float32: it gets bfloat16 wrong. On a GPU there is tests/gpu.

The interpreter must be asked for before torch is imported, which imports triton, whose own functions obey it too. So
they run in processes of their own, started by tests/train/rollout/test_kernels_interpreted.py. By hand:

    TRITON_INTERPRET=1 python -m pytest -n 0 tests/train/rollout/triton_kernels
"""

import pytest

pytest.importorskip("triton", reason="triton is there on Linux alone")

from train.rollout.triton_kernels import interpreted

IN_INTERPRETER = [
    "test_attention.py",
    "test_captured_prefill.py",
    "test_fused_decoding.py",
    "test_layer_kernels.py",
    "test_sampling.py",
]
collect_ignore = [] if interpreted() else IN_INTERPRETER
