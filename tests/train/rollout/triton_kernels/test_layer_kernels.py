"""Norms, rotary embeddings, activations, products and the start of a step against torch."""

import pytest
import torch
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from train.rollout.triton_kernels.gated import gated
from train.rollout.triton_kernels.norm import residual_norm
from train.rollout.triton_kernels.prepare import prepare
from train.rollout.triton_kernels.product import invariant_linear
from train.rollout.triton_kernels.rope import rope_write

CLOSE = {torch.float32: 3e-6, torch.float16: 4e-3}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """In float64."""
    hidden = hidden.double()
    return hidden / (hidden.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()


@DTYPES
@pytest.mark.parametrize("width", [64, 333, 576])
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("has_delta, has_post", [(False, False), (True, False), (True, True)])
def test_a_norm_is_that_of_the_sum(
    width: int, offset: float, has_delta: bool, has_post: bool, dtype: torch.dtype
) -> None:
    stream, delta = torch.randn(3, width).to(dtype), torch.randn(3, width).to(dtype)
    weight, post = torch.rand(width).to(dtype), torch.rand(width).to(dtype)
    whole = stream.double()
    if has_delta:
        whole = whole + (rms_norm(delta, post + offset) if has_post else delta)
    result = residual_norm(
        stream,
        delta if has_delta else None,
        weight,
        1e-5,
        dtype,
        offset=offset,
        post_weight=post if has_post else None,
    )
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype]}
    torch.testing.assert_close(stream.double(), whole, **close)
    torch.testing.assert_close(result.double(), rms_norm(stream, weight + offset), **close)


def test_a_float32_stream_takes_float16_branches() -> None:
    """As under autocast: the residual stream is not rounded to the type of the products."""
    stream, delta = torch.randn(2, 64), torch.randn(2, 64).half()
    whole = stream + delta
    result = residual_norm(stream, delta, torch.ones(64), 1e-5, torch.float16)
    assert torch.equal(stream, whole) and result.dtype == torch.float16


@DTYPES
@pytest.mark.parametrize("heads, key_heads, dim", [(3, 1, 64), (4, 2, 128), (7, 1, 24)])
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
def test_queries_are_rotated_and_keys_and_values_land_in_their_slots(
    heads: int, key_heads: int, dim: int, normed: bool, rotated: bool, dtype: torch.dtype
) -> None:
    tokens, pages, page = 3, 4, 16
    projected = torch.randn(tokens, (heads + 2 * key_heads) * dim).to(dtype)
    positions, slots = torch.tensor([0, 5, 11]), torch.tensor([63, 0, 17])
    angles = torch.arange(12)[:, None] / 10 ** torch.linspace(0, 2, dim // 2)
    cos, sin = (torch.cat([function(angles)] * 2, 1) for function in (torch.cos, torch.sin))
    weights = (torch.rand(dim).to(dtype), torch.rand(dim).to(dtype))
    query, key, value = projected.clone().split([heads * dim, key_heads * dim, key_heads * dim], 1)
    query, key = query.view(tokens, heads, dim).double(), key.view(tokens, key_heads, dim).double()
    if normed:
        query, key = rms_norm(query, weights[0] + 1), rms_norm(key, weights[1] + 1)
    if rotated:
        query, key = (
            part[0].transpose(0, 1)
            for part in apply_rotary_pos_emb(
                query.transpose(0, 1)[None], key.transpose(0, 1)[None], cos[positions][None], sin[positions][None]
            )
        )
    keys, values = (
        torch.zeros(pages, page, key_heads, dim).to(dtype),
        torch.zeros(pages, page, key_heads, dim).to(dtype),
    )
    result = rope_write(
        projected,
        positions,
        slots,
        keys,
        values,
        heads,
        table=(cos, sin) if rotated else None,
        norms=weights if normed else None,
        epsilon=1e-5,
        offset=1.0,
    )
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype]}
    torch.testing.assert_close(result.double(), query, **close)
    torch.testing.assert_close(keys.view(-1, key_heads, dim)[slots].double(), key, **close)
    assert torch.equal(values.view(-1, key_heads * dim)[slots], value)
    assert int(values.count_nonzero()) == value.numel()


@DTYPES
@pytest.mark.parametrize("gelu", [False, True])
def test_the_gated_activation_is_torchs(gelu: bool, dtype: torch.dtype) -> None:
    projected = torch.randn(3, 2 * 1100)
    projected[0, :6] = torch.tensor([-80.0, -100.0, -1e4, 100.0, 1e4, float("nan")])
    projected = projected.to(dtype)
    gate, up = projected.double().chunk(2, 1)
    own = (functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)) * up
    result = gated(projected, gelu=gelu).double()
    torch.testing.assert_close(result, own, rtol=CLOSE[dtype], atol=CLOSE[dtype], equal_nan=True)


@DTYPES
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_that_knows_no_batch_is_the_product(bias: bool, dtype: torch.dtype) -> None:
    inputs, weight = torch.randn(70, 90).to(dtype), torch.randn(75, 90).to(dtype)
    shift = torch.randn(75).to(dtype) if bias else None
    result = invariant_linear(inputs, weight, shift)
    own = inputs.double() @ weight.double().T + (0 if shift is None else shift.double())
    torch.testing.assert_close(result.double(), own, rtol=CLOSE[dtype], atol=CLOSE[dtype] * 10)
    assert torch.equal(invariant_linear(inputs[66:67], weight, shift), result[66:67])


def test_a_step_starts_with_each_rows_place_and_token() -> None:
    ended = torch.tensor([False, True, False, True])
    cached, last = torch.tensor([15, 16, 40, 0]), torch.tensor([4, 5, 6, 0])
    rollouts, table = torch.tensor([2, 0, 1, 3]), torch.tensor([[7, 8, 9], [3, 0, 0], [5, 6, 0], [0, 0, 0]]).int()
    embedding = torch.randn(9, 1100)
    positions, slots, lengths, stream = prepare(rollouts, ended, cached, last, table, embedding, 16, 0, scale=2.0)
    assert positions.tolist() == [40, 15, 16, 0]
    assert slots.tolist() == [9 * 16 + 8, 3 * 16 + 15, 0, 0]  # rollouts 1 and 3 have ended
    assert lengths.tolist() == [41, 16, 1, 1]
    assert torch.equal(stream, embedding[last[rollouts]] * 2)
