"""What a step costs, held against the models themselves, PyTorch's own counter, and traces with no layer left out."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from planning import a_run, a_workload
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from train.plan import loss, modules, rollouts
from train.plan.costs import Costs
from train.plan.counting import Work
from train.plan.loss import Batch, LossCost, loss_cost, parity_cost
from train.plan.recipe_models import RECIPE_MODELS
from train.plan.rollouts import trace_forward
from train.rollout.dense.packed import packed_bytes


def pretrained(checkpoint, **settings):
    """A run that starts from a tiny model on disk."""
    return a_run(model=str(checkpoint), scratch=None, **settings)


def test_sizes_of_a_full_model_are_those_of_its_weights():
    costs = Costs(a_run(), a_workload(), gpu=False)
    weights = sum(weight.numel() for weight in modules.build(costs.config, costs.run).parameters())
    sizes = costs.sizes
    assert sizes.total == sizes.trained == weights
    assert (sizes.weights, sizes.gradients, sizes.moments) == (4 * weights, 4 * weights, 8 * weights)
    assert 0 < sizes.layers < weights


def test_adapters_alone_have_gradients_and_moments(checkpoint, tiny_model):
    costs = Costs(pretrained(checkpoint, lora_rank=4), a_workload(), gpu=False)
    real = get_peft_model(tiny_model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained, total = real.get_nb_trainable_parameters()
    assert (costs.sizes.trained, costs.sizes.total) == (trained, total)
    assert costs.sizes.moments == 2 * costs.sizes.gradients == 8 * trained


def test_four_bits_take_an_eighth_of_what_the_linear_weights_took(checkpoint):
    lora = {"lora_rank": 4, "model_dtype": "bfloat16"}
    whole = Costs(pretrained(checkpoint, **lora), a_workload(), gpu=True).sizes
    rounded = Costs(pretrained(checkpoint, **lora, load_in_4bit=True), a_workload(), gpu=True).sizes
    linear = rounded.saved_by_quantising / (2 - 4.127 / 8)  # weights
    assert 0 < linear < whole.total
    assert rounded.weights == pytest.approx(whole.weights - 2 * linear + linear * 4.127 / 8)


def test_eight_bit_moments_take_a_byte_each():
    costs = Costs(a_run(), a_workload(eight_bit_optimiser=True), gpu=True)
    assert costs.sizes.moments == 2 * costs.sizes.trained


def test_the_packed_copy_of_a_cpu_is_the_one_that_the_engine_makes():
    run = a_run(scratch={"hidden_size": 256, "intermediate_size": 512})
    costs = Costs(run, a_workload(), gpu=False)
    real = AutoModelForCausalLM.from_config(costs.config)
    assert costs.sizes.packed == packed_bytes(real) > 0
    assert Costs(run, a_workload(), gpu=True).sizes.packed == 0


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_deep_model_costs_what_it_does_when_it_is_traced_whole(monkeypatch, bf16, checkpointing):
    run, config = a_run(), Costs(a_run(), a_workload(), gpu=False).config
    how = {"bf16": bf16, "checkpointing": checkpointing, "accumulates": True, "gpu": False}
    shallow = loss_cost(config, run, Batch(4, 8, 40), **how)
    monkeypatch.setattr(loss, "TRACED_LAYERS", 6)
    monkeypatch.setattr(loss, "_deepen", measured)
    whole = loss_cost(config, run, Batch(4, 8, 40), **how)
    assert shallow.peak == whole.peak
    assert shallow.work.flops == whole.work.flops
    assert shallow.work.bytes == whole.work.bytes


def measured(trace, *_):
    """What a trace saw, with nothing made up."""
    work = Work()
    for section in trace.sections.values():
        work += section.work
    return LossCost(max(section.peak for section in trace.sections.values()), 0, 0, work)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", ["decode", "parity"])
def test_a_deep_models_forward_without_gradients_costs_what_it_does_when_traced_whole(monkeypatch, kind, bf16):
    run, config = a_run(), Costs(a_run(), a_workload(), gpu=False).config

    def forward():
        if kind == "decode":
            return trace_forward(config, run, 32, 32, bf16=bf16, gpu=False)
        return parity_cost(config, run, Batch(2, 8, 24), bf16=bf16, gpu=False)

    shallow = forward()
    for module in (loss, rollouts):
        monkeypatch.setattr(module, "TRACED_LAYERS", 6)
    whole = forward()
    assert shallow.work.flops == whole.work.flops
    assert shallow.work.calls == whole.work.calls
    assert shallow.peak == whole.peak


def test_the_products_are_those_that_pytorch_counts():
    # It does not count what attention does on a CPU unless that is written out, and then one product less of it.
    costs = Costs(a_run(), a_workload(), gpu=False)
    model = AutoModelForCausalLM.from_config(costs.config, attn_implementation="eager")
    ids = torch.zeros(4, 48, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.sum().backward()
    traced = costs._loss(Batch(4, 8, 40), accumulates=False).work.flops
    head = 2 * 4 * 48 * model.lm_head.weight.numel()  # which the fused head works out once more
    assert traced == pytest.approx(counter.get_total_flops() + head, rel=0.05)


def test_checkpointing_trades_memory_for_work():
    plain = Costs(a_run(), a_workload(rows=8, most=200), gpu=False)
    recomputed = plain.altered(gradient_checkpointing=True)
    assert recomputed.loss().saved < plain.loss().saved / 2
    assert recomputed.loss().work.flops > plain.loss().work.flops


def test_longer_completions_and_more_rows_cost_more():
    costs = Costs(a_run(), a_workload(), gpu=False)
    assert costs.loss(8).peak > costs.loss(4).peak > costs.loss(1).peak
    longer = costs.altered(a_workload(most=64, mean=40.0))
    assert longer.of_losses(lambda work: work.flops) > 2 * costs.of_losses(lambda work: work.flops)


def test_known_models_have_as_many_weights_as_their_cards_say():
    counts = {
        "smollm2-135m": 134_515_008, "Qwen/Qwen2.5-0.5B": 494_032_768, "Qwen/Qwen2.5-1.5B": 1_543_714_304,
        "Qwen/Qwen2.5-3B": 3_085_938_688, "Qwen/Qwen2.5-7B": 7_615_616_512, "Qwen/Qwen3-0.6B": 596_049_920,
    }  # fmt: skip
    assert set(counts) == set(RECIPE_MODELS)
    for name, count in counts.items():
        values = dict(RECIPE_MODELS[name])
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        assert sum(weight.numel() for weight in model.parameters()) == count, name


def test_what_was_traced_once_is_not_traced_again_for_another_number_of_gpus(monkeypatch):
    costs = Costs(a_run(), a_workload(), gpu=True)
    forwards, peak = costs.decodes, costs.loss().peak
    monkeypatch.setattr("train.plan.costs.trace_forward", None)
    monkeypatch.setattr("train.plan.costs.loss_cost", None)
    other = costs.altered(a_workload(steps=costs.work.steps + 1), cache_gib=1)
    assert other.decodes == forwards and other.loss().peak == peak


def test_checkpointing_and_another_type_of_numbers_are_traced_anew():
    costs = Costs(a_run(), a_workload(rows=8, most=200), gpu=True)
    assert costs.altered(gradient_checkpointing=True).loss().peak < costs.loss().peak
    assert costs.altered(model_dtype="bfloat16").loss().peak < costs.loss().peak
