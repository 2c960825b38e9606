"""Fused norms: the same values in every family, the weights of now, and the module as it was afterwards."""

import pytest
import torch
from rollout_models import FAMILIES, VOCAB, scratch_llama
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from train.rollout.dense.fused import FusedNorms

TOKENS = torch.randint(3, VOCAB, (2, 9), generator=torch.Generator().manual_seed(0))


def replaced(model: nn.Module) -> int:
    return sum("forward" in module.__dict__ for module in model.modules())


@torch.no_grad()
def with_random_norms(family: str) -> nn.Module:
    model = FAMILIES[family]()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.uniform_(-0.5, 1.5)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_module_and_no_norm_is_left_out(family: str) -> None:
    model = with_random_norms(family)
    norms = FusedNorms(model)
    with torch.no_grad():
        expected = model(TOKENS).logits
        with norms.applied():
            assert replaced(model) == len(norms) == sum("RMSNorm" in type(m).__name__ for m in model.modules()) > 6
            torch.testing.assert_close(model(TOKENS).logits, expected, rtol=1e-4, atol=1e-4)
    assert replaced(model) == 0


def test_half_precision_differs_by_rounding_alone() -> None:
    model = scratch_llama().to(torch.bfloat16)
    norm = model.model.norm
    hidden = torch.randn(4, 64, dtype=torch.bfloat16)
    with torch.no_grad(), FusedNorms(model).applied():
        found = norm(hidden)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, norm(hidden), rtol=2**-7, atol=2**-7)


def test_weights_changed_later_are_the_ones_that_count() -> None:
    model = scratch_llama()
    norms, norm, hidden = FusedNorms(model), model.model.norm, torch.randn(4, 64)
    with torch.no_grad():
        norm.weight.mul_(3)
        with norms.applied():
            found = norm(hidden)
        torch.testing.assert_close(found, norm(hidden))


def test_other_input_types_are_left_to_the_module() -> None:
    model = scratch_llama()
    hidden = torch.randn(4, 64, dtype=torch.bfloat16)
    expected = model.model.norm(hidden)
    with torch.no_grad(), FusedNorms(model).applied():
        found = model.model.norm(hidden)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    class OddRMSNorm(Gemma3RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    assert len(FusedNorms(nn.Sequential(OddRMSNorm(8), Gemma3RMSNorm(8)))) == 1


def test_forwards_are_put_back_after_an_exception() -> None:
    model = scratch_llama()
    with pytest.raises(KeyboardInterrupt), FusedNorms(model).applied():
        raise KeyboardInterrupt
    assert replaced(model) == 0


def test_a_forward_patched_after_the_norms_were_found_is_used_and_left() -> None:
    model = scratch_llama()
    norms, norm, hidden = FusedNorms(model), model.model.norm, torch.randn(4, 64)

    def patched(hidden: torch.Tensor) -> torch.Tensor:
        return hidden * 2

    norm.forward = patched
    with torch.no_grad(), norms.applied():
        assert torch.equal(norm(hidden), hidden * 2)
        assert replaced(model) == len(norms)
    assert norm.forward is patched and replaced(model) == 1
    del norm.forward
    with norms.applied():
        assert replaced(model) == len(norms)
