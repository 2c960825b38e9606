"""The compiled kernels against torch, what they may stand in for, and a machine that cannot compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rollout_models import FAMILIES, STOP, largest_gap, prompts_of
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.llama import modeling_llama

from train.rollout import native
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.native.layers import NativeLayers

SAMPLING = Sampling(max_new_tokens=40, stop_ids=(STOP, 7), seed=1)
BLOCK = 32

needs_kernels = pytest.mark.skipif(not native.available(), reason="no C++ compiler here")


def cache_arguments(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two tokens for a pool of three blocks of four tokens, two heads of eight numbers."""
    fitting = {
        "key": torch.zeros(2, 2, 8),
        "value": torch.zeros(2, 2, 8),
        "keys": torch.zeros(3, 2, 4, 8),
        "values": torch.zeros(3, 2, 4, 8),
        "blocks": torch.tensor([0, 2]),
        "offsets": torch.tensor([3, 0]),
    }
    return fitting | changes


@needs_kernels
@pytest.mark.parametrize(
    "changes",
    [
        {"key": torch.zeros(5, 2, 8), "value": torch.zeros(5, 2, 8)},
        {"value": torch.zeros(5, 2, 8)},
        {"key": torch.zeros(2, 3, 8)},
        {"value": torch.zeros(2, 2, 9)},
        {"blocks": torch.tensor([0, 3])},
        {"blocks": torch.tensor([0, -1])},
        {"offsets": torch.tensor([0, 4])},
        {"offsets": torch.tensor([0])},
        {"keys": torch.zeros(3, 2, 8, 4).transpose(2, 3)},
    ],
    ids=["more tokens", "more values", "heads", "width", "block", "negative", "offset", "places", "strides"],
)
def test_nothing_is_written_outside_the_pool(changes: dict[str, torch.Tensor]) -> None:
    torch.ops.rethink.write_cache(**cache_arguments())
    with pytest.raises(RuntimeError, match=r"pool's|keys of the pool|expected 0 to less than"):
        torch.ops.rethink.write_cache(**cache_arguments(**changes))


@needs_kernels
@pytest.mark.parametrize(
    "changes",
    [
        {"table": torch.tensor([[0, 3], [2, 1]])},
        {"table": torch.tensor([[0, 1]])},
        {"lengths": torch.tensor([9, 5])},
        {"lengths": torch.tensor([0, 5])},
        {"lengths": torch.tensor([5])},
        {"query": torch.zeros(2, 3, 8)},
        {"query": torch.zeros(2, 4, 9)},
        {"values": torch.zeros(2, 2, 4, 8)},
    ],
    ids=["block", "rows", "too long", "empty", "lengths", "heads", "width", "values"],
)
def test_nothing_is_read_outside_the_pool(changes: dict[str, torch.Tensor]) -> None:
    fitting = {
        "query": torch.zeros(2, 4, 8),
        "keys": torch.zeros(3, 2, 4, 8),
        "values": torch.zeros(3, 2, 4, 8),
        "table": torch.tensor([[0, 1], [2, 1]]),
        "lengths": torch.tensor([8, 5]),
    }
    options = {"scaling": 1.0, "window": 0}
    torch.ops.rethink.decode_attention(**fitting, **options)
    with pytest.raises(RuntimeError, match=r"query is|keys of the pool|expected [01] to less than"):
        torch.ops.rethink.decode_attention(**{**fitting, **changes}, **options)


@needs_kernels
@pytest.mark.parametrize("window", [0, 1, 40])
@pytest.mark.parametrize("group", [1, 3, 4, 7])
@pytest.mark.parametrize("key_dim, value_dim", [(32, 32), (64, 64), (80, 80), (96, 96), (128, 128), (24, 24), (16, 8)])
def test_attention_is_softmax_over_the_rows_own_blocks(key_dim: int, value_dim: int, group: int, window: int) -> None:
    torch.manual_seed(0)
    lengths, key_heads = torch.tensor([1, 31, 32, 33, 64, 90]), 2
    rows = len(lengths)
    table = torch.randperm(3 * rows).view(rows, 3)
    keys = torch.randn(3 * rows, key_heads, BLOCK, key_dim)
    values = torch.randn(3 * rows, key_heads, BLOCK, value_dim)
    query = torch.randn(key_heads * group, rows, key_dim).transpose(0, 1)  # as a model hands it over, not contiguous
    out = torch.ops.rethink.decode_attention(query, keys, values, table, lengths, 0.3, window)
    assert out.shape == (rows, key_heads * group, value_dim)
    for row, length in enumerate(lengths.tolist()):
        first = max(0, length - window) if window else 0
        own = [pool[table[row]].transpose(0, 1).flatten(1, 2)[:, first:length] for pool in (keys, values)]
        key, value = (part.double().repeat_interleave(group, 0) for part in own)
        weights = (key @ query[row].double().unsqueeze(-1) * 0.3).softmax(1)
        torch.testing.assert_close(out[row], (weights * value).sum(1).float(), rtol=1e-5, atol=1e-6)


@needs_kernels
def test_new_keys_and_values_land_in_their_slots() -> None:
    keys, values = torch.zeros(5, 2, BLOCK, 16), torch.zeros(5, 2, BLOCK, 8)
    key, value = torch.randn(2, 3, 16).transpose(0, 1), torch.randn(3, 2, 8)
    blocks, offsets = torch.tensor([4, 0, 2]), torch.tensor([31, 0, 7])
    torch.ops.rethink.write_cache(key, value, keys, values, blocks, offsets)
    assert torch.equal(keys[blocks, :, offsets], key)
    assert torch.equal(values[blocks, :, offsets], value)
    assert int(keys.count_nonzero()) == key.numel()


@needs_kernels
@pytest.mark.parametrize("rows", [1, 200])  # serial, and on all threads
def test_small_kernels_are_torchs_operators(rows: int) -> None:
    hidden, weight, gate, up = (
        torch.randn(rows, 1, 333),
        torch.rand(333),
        torch.randn(rows, 999),
        torch.randn(rows, 999),
    )
    norm = torch.ops.rethink.rms_norm(hidden, weight, 1e-5)
    torch.testing.assert_close(norm, functional.rms_norm(hidden, (333,), weight, 1e-5))
    gate[0, :24] = torch.tensor([-80.0, -89.0, -100.0, -1e4, 100.0, 1e4]).repeat(4)  # where exp ends
    torch.testing.assert_close(torch.ops.rethink.silu_multiply(gate, up), functional.silu(gate) * up)
    query, key = torch.randn(1, rows, 4, 32).transpose(1, 2), torch.randn(1, rows, 2, 32).transpose(1, 2)
    cos, sin = torch.randn(1, rows, 32), torch.randn(1, rows, 32)
    own = modeling_llama.apply_rotary_pos_emb(query, key, cos, sin)
    for rotated, expected in zip(torch.ops.rethink.rotate(query, key, cos, sin), own, strict=True):
        torch.testing.assert_close(rotated, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_torchs_operators_sample_what_the_kernels_do(family: str) -> None:
    """Every other test of the engine runs on the kernels, where they compile."""
    model, prompts = FAMILIES[family](), prompts_of((1, 31, 33, 70))
    rollouts = RolloutEngine(model, max_rows=9, chunk_tokens=48, native_kernels=False).generate(prompts, 3, SAMPLING)
    assert largest_gap(model, prompts, rollouts) < 1e-4
    if native.available():
        natively = RolloutEngine(model, max_rows=9, chunk_tokens=48).generate(prompts, 3, SAMPLING)
        assert [rollout.token_ids for rollout in natively] == [rollout.token_ids for rollout in rollouts]


@needs_kernels
def test_a_llama_is_run_natively_and_left_as_it_was(llama: PreTrainedModel) -> None:
    layers, own = NativeLayers(llama), modeling_llama.apply_rotary_pos_emb
    calls: list[str] = []

    def look() -> int:
        calls.extend(name.split(".")[-1] for name, module in llama.named_modules() if "forward" in module.__dict__)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), layers.applied():
        assert modeling_llama.apply_rotary_pos_emb is not own
        look()
    count = llama.config.num_hidden_layers
    assert sorted(calls) == sorted(["input_layernorm", "post_attention_layernorm", "mlp"] * count + ["norm"])
    assert modeling_llama.apply_rotary_pos_emb is own
    assert not any("forward" in module.__dict__ for module in llama.modules())


@needs_kernels
def test_a_layer_that_computes_something_else_is_left_alone(llama: PreTrainedModel) -> None:
    class Doubled(modeling_llama.LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    for layer in llama.model.layers:
        layer.mlp = Doubled(llama.config)
    with NativeLayers(llama).applied():
        assert not any("forward" in layer.mlp.__dict__ for layer in llama.model.layers)
    prompts = prompts_of((5, 33))
    assert largest_gap(llama, prompts, RolloutEngine(llama).generate(prompts, 2, SAMPLING)) < 1e-4


@needs_kernels
def test_what_is_not_float32_or_wants_gradients_runs_as_it_was(llama: PreTrainedModel) -> None:
    hidden = torch.randn(1, 3, llama.config.hidden_size, dtype=torch.bfloat16)
    wide = llama.bfloat16()
    expected = wide.model.layers[0].mlp(hidden)
    with NativeLayers(wide).applied():
        assert torch.equal(wide.model.layers[0].mlp(hidden), expected)
        query = torch.randn(1, 2, 3, 8, requires_grad=True)
        cos, sin = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
        modeling_llama.apply_rotary_pos_emb(query, query, cos, sin)[0].sum().backward()
        assert query.grad is not None


@pytest.mark.parametrize(
    "variables, said",
    [({"RETHINK_NATIVE": "0"}, ""), ({"CXX": "no-such-compiler"}, "could not be compiled")],
)
def test_a_machine_without_a_compiler_runs_on_torch(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    code = "from train.rollout import native; print('kernels:', native.available(), native.available())"
    environment = os.environ | {"RETHINK_CACHE": str(tmp_path)} | variables
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "kernels: False False"
    assert ended.stderr.count("could not be compiled") == (1 if said else 0)


@needs_kernels
def test_what_is_not_finite_stays_so() -> None:
    """The sampler names the row; a kernel that swallowed a NaN would hide it."""
    for bad in (float("nan"), float("inf")):
        hidden, gate = torch.randn(3, 64), torch.randn(3, 64)
        hidden[1, 5] = gate[1, 5] = bad
        for result in (
            torch.ops.rethink.rms_norm(hidden, torch.ones(64), 1e-5),
            torch.ops.rethink.silu_multiply(gate, torch.ones(3, 64)),
        ):
            assert result.isfinite().all(-1).tolist() == [True, False, True]
        keys, query, table = torch.randn(3, 1, BLOCK, 64), torch.randn(3, 1, 64), torch.arange(3).view(3, 1)
        keys[1, 0, 2, 3] = bad
        lengths = torch.full((3,), 8)
        out = torch.ops.rethink.decode_attention(query, keys, keys, table, lengths, 1.0, 0)
        assert out.isfinite().flatten(1).all(-1).tolist() == [True, False, True]
