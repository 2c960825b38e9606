"""The whole copy of sharded weights, in two processes that really shard them."""

import os

import pytest
import torch
from accelerate import Accelerator, PartialState
from launching import in_processes, launch_environment
from peft import LoraConfig, get_peft_model
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import add_fused_lm_head

from train.distributed.sharding import WholeCopy, reshard, sharding_on_any_device
from train.rollout.parity.gate import ParityError

PROMPT = [9, 10, 11, 12, 13]


def in_two(work, **environment) -> None:
    """Assert that `work` ends well in two processes that were launched with configs/accelerate/fsdp2.yaml."""

    def run() -> int:
        torch.set_num_threads(1)
        work()
        return 0

    assert in_processes(2, launch_environment("fsdp2", 2) | environment, run) == [0, 0]


def sharded(model, **options):
    """The model sharded after one update, its copy, and the accelerator."""
    PartialState(cpu=True)
    with sharding_on_any_device():
        accelerator = Accelerator(cpu=True, **options)
    assert accelerator.is_fsdp2
    copy = WholeCopy(model, accelerator)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    ids = torch.tensor([PROMPT]) + accelerator.process_index  # each process has its own batch
    model(ids).logits.float().square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return model, copy, accelerator


@torch.no_grad()
def logits(model):
    return model(torch.tensor([PROMPT])).logits


@pytest.fixture
def adapted(tiny_model):
    model = get_peft_model(tiny_model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.1)
    return model


@pytest.mark.parametrize("fixture", ["tiny_model", "adapted"])
def test_the_copy_computes_what_the_shards_do(request, fixture):
    whole = request.getfixturevalue(fixture)
    before = logits(whole)
    add_fused_lm_head(whole if fixture == "tiny_model" else whole.get_base_model())  # as trl does

    def work():
        model, copy, _ = sharded(whole)
        mine = copy.follow(model, 1, PROMPT)
        torch.testing.assert_close(logits(mine), logits(model), atol=1e-6, rtol=0)
        assert (logits(mine) - before).abs().max() > 1e-3  # it took the update

    in_two(work)


def test_the_copy_computes_in_bfloat16_what_the_shards_do(tiny_model):
    def work():
        model, copy, accelerator = sharded(tiny_model, mixed_precision="bf16")
        mine = copy.follow(model, 1, PROMPT)
        assert {weight.dtype for weight in mine.parameters()} == {torch.bfloat16}
        assert all(buffer.dtype == torch.float32 for buffer in mine.buffers())  # rotary frequencies
        assert torch.equal(logits(mine), logits(model))
        reshard(model)
        # The weights that are trained, and the sums of their gradients, stay in float32.
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert accelerator.state.fsdp_plugin.mixed_precision_policy.reduce_dtype == torch.float32

    in_two(work)


def test_the_copy_computes_what_shards_with_recomputed_activations_do(tiny_model):
    def work():
        model, copy, _ = sharded(tiny_model)
        torch.testing.assert_close(logits(copy.follow(model, 1, PROMPT)), logits(model), atol=1e-6, rtol=0)

    in_two(work, FSDP_ACTIVATION_CHECKPOINTING="true")


def test_a_copy_that_does_not_follow_stops_every_process(tiny_model):
    def work():
        model, copy, accelerator = sharded(tiny_model)
        copy.follow(model, 1, PROMPT)
        # Frozen weights are taken for right: so the copy stays behind, and one process can see it.
        copy.model.requires_grad_(False)
        if accelerator.process_index == 1:
            copy.model.lm_head.weight.mul_(2.0)
        with pytest.raises(ParityError, match="differ from the sharded model's by up to"):
            copy.follow(model, 2, PROMPT)

    in_two(work)


@pytest.mark.parametrize("fixture", ["tiny_model", "adapted"])
def test_trl_finds_the_weights_for_vllm_after_a_forward_without_a_backward(request, fixture):
    whole = request.getfixturevalue(fixture)

    def work():
        model, copy, accelerator = sharded(whole)
        mine = copy.follow(model, 1, PROMPT)
        generation = VLLMGeneration.__new__(VLLMGeneration)
        generation.model, generation.accelerator = model, accelerator
        generation._dist = DistributedBackend(accelerator)
        if fixture == "tiny_model":
            logits(model)  # as an evaluation does: some weights now lie whole, and have no shards to ask for
            with pytest.raises(AttributeError, match="full_tensor"):
                list(generation._iter_named_params())
        logits(model)
        reshard(model)
        given = {name: weight.clone() for name, weight in generation._iter_named_params()}
        if fixture == "adapted":
            mine.merge_adapter()  # as vLLM is given them
        names = {
            name.removeprefix("base_model.model.").replace(".base_layer", ""): weight
            for name, weight in mine.named_parameters()
            if "lora_" not in name
        }
        assert given.keys() == names.keys()
        for name, weight in names.items():
            torch.testing.assert_close(given[name], weight.data, atol=1e-6, rtol=0)

    in_two(work)


def test_without_being_asked_for_nothing_is_sharded(tiny_model):
    def work():
        assert "ACCELERATE_USE_FSDP" not in os.environ
        PartialState(cpu=True)
        with sharding_on_any_device():
            accelerator = Accelerator(cpu=True)
        assert not accelerator.is_fsdp2 and accelerator.num_processes == 2
        accelerator.wait_for_everyone()  # one that ends first would reset the other's connection while it still joins
        return 0

    assert in_processes(2, {}, work) == [0, 0]
