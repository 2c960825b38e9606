"""These run in Triton's interpreter, in float16 and float32: it gets bfloat16 wrong. On a GPU there is tests/gpu."""

import pytest

pytest.importorskip("triton", reason="triton is there on Linux alone")

from train.rollout.triton_kernels import interpreted

collect_ignore = [] if interpreted() else ["test_attention.py", "test_layer_kernels.py", "test_sampling.py"]
