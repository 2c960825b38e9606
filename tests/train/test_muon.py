import copy

import pytest
import torch
from torch import nn

from train.model.scratch import build_model, build_tokenizer
from train.muon import Muon, orthogonal, split_parameters


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model({"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}, build_tokenizer())


def _filled(model: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8), (1, 1, 5)])
def test_singular_values_come_near_one_whatever_the_shape(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 1e-3))
    assert values.min() > 0.6 and values.max() < 1.3


def test_matrices_of_layers_are_orthogonalised_and_nothing_else(model):
    matrices, rest = split_parameters(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(m)].split(".")[-2] for m in matrices} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert len(matrices) + len(rest) == len(list(model.parameters()))
    assert "model.embed_tokens.weight" in {names[id(parameter)] for parameter in rest}


def test_the_rest_is_updated_as_adam_does_and_frozen_parameters_stay(model):
    ours, torchs = copy.deepcopy(model), copy.deepcopy(model)
    for each in (ours, torchs):
        each.model.norm.weight.requires_grad_(False)
    muon = Muon(ours, 1e-2)
    adam = torch.optim.Adam([p for p in torchs.parameters() if p.requires_grad], 1e-2)
    for seed in range(3):
        _filled(ours, seed), _filled(torchs, seed)
        muon.step(), adam.step()
    assert torch.allclose(ours.model.embed_tokens.weight, torchs.model.embed_tokens.weight, atol=1e-6)
    assert torch.equal(ours.model.norm.weight, model.model.norm.weight)


def test_an_update_of_a_matrix_is_scaled_by_the_learning_rate_alone(model):
    trained = _filled(copy.deepcopy(model), 0)
    Muon(trained, 1e-2).step()
    for layer, before in zip(trained.model.layers, model.model.layers, strict=True):
        update = layer.mlp.up_proj.weight - before.mlp.up_proj.weight
        assert 0.4 < update.square().mean().sqrt() / 1e-2 < 0.6


def test_going_on_from_saved_state_is_the_same_to_the_bit(model):
    whole, first = copy.deepcopy(model), copy.deepcopy(model)
    optimizer = Muon(whole, 1e-2)
    for seed in range(4):
        _filled(whole, seed)
        optimizer.step()
    before = Muon(first, 1e-2)
    for seed in range(2):
        _filled(first, seed)
        before.step()
    after = Muon(first, 1e-2)
    after.load_state_dict(before.state_dict())
    for seed in range(2, 4):
        _filled(first, seed)
        after.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), first.parameters(), strict=True))
