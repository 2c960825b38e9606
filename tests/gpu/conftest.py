"""Float32 products that are float32."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _exact_float32() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(precision)
