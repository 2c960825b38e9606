"""Which graphs are replayed and when they are taken anew, with a tape of CPU operators in place of a CUDA graph."""

import warnings
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rollout_models import FAMILIES, STOP, largest_gap, prompts_of, scratch_llama
from tape import record
from test_paged_run import LENGTHS, PAGE, SAMPLED, tokens

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling, Thinking
from train.rollout.paged.fingerprint import why_not_capturable
from train.rollout.paged.graphs import NotCapturable, StepGraphs, buckets
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare


def taped_engine(model: torch.nn.Module, **options: int) -> RolloutEngine:
    """An engine on a CPU that replays tapes as it replays graphs on CUDA."""
    engine = RolloutEngine(model, page_tokens=PAGE, **options)
    engine.generate(prompts_of(LENGTHS), 3, SAMPLED)  # makes the decoder
    assert engine.decoder is not None
    engine.decoder.graphs = StepGraphs(record, torch.device("cpu"))
    return engine


def perturb(model: torch.nn.Module) -> None:
    """What an optimiser step does to the weights: other values, same storage."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_replays_equal_eager_steps(family: str) -> None:
    model, prompts = FAMILIES[family](), prompts_of(LENGTHS)
    expected = RolloutEngine(model).generate(prompts, 3, SAMPLED)
    engine = taped_engine(model)
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert tokens(rollouts) == tokens(expected)
    assert largest_gap(model, prompts, rollouts) < 1e-4
    assert engine.stats.replayed_steps == engine.stats.steps > engine.stats.captured_graphs > 1


def test_weights_updated_in_place_are_read_by_the_same_graphs() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    engine = taped_engine(model)
    before = engine.generate(prompts, 3, SAMPLED)
    perturb(model)
    after = engine.generate(prompts, 3, SAMPLED)
    assert tokens(after) != tokens(before)
    assert largest_gap(model, prompts, after) < 1e-4
    assert engine.stats.replayed_steps == engine.stats.steps
    assert engine.stats.captured_graphs < 3  # batch sizes that the first call did not meet


def test_weights_that_autocast_casts_are_cast_in_every_replay() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        engine = taped_engine(model)
        engine.generate(prompts, 3, SAMPLED)
    perturb(model)
    with torch.autocast("cpu", torch.bfloat16):
        rollouts = engine.generate(prompts, 3, SAMPLED)
        assert engine.stats.replayed_steps == engine.stats.steps
        assert compare(prompts, rollouts, forward_logprobs(model)).mean < 0.2  # stale casts: 1.8


def test_other_lengths_limits_and_seeds_share_the_graphs() -> None:
    model = scratch_llama()
    engine = taped_engine(model)
    engine.generate(prompts_of(LENGTHS), 3, Sampling(max_new_tokens=30, stop_ids=()))
    prompts, other = prompts_of(LENGTHS[::-1], seed=3), Sampling(max_new_tokens=20, stop_ids=(), seed=5)
    rollouts = engine.generate(prompts, 3, other, step=2)
    assert engine.stats.captured_graphs == 0
    assert tokens(rollouts) == tokens(RolloutEngine(model).generate(prompts, 3, other, step=2))


def test_thinking_budgets_are_kept_in_replays() -> None:
    model = scratch_llama()
    prompts = [[*prompts_of((20,))[0], 110]]
    thinking = Thinking(110, 111, budget=20, closing_ids=(112, 111), minimum=9, wait_ids=(113, 112), extensions=2)
    sampling = Sampling(max_new_tokens=60, stop_ids=(STOP,), temperature=1.5, thinking=thinking)
    expected = RolloutEngine(model).generate(prompts, 16, sampling)
    rollouts = taped_engine(model).generate(prompts, 16, sampling)
    assert [(r.token_ids, r.forced, r.finish_reason) for r in rollouts] == [
        (r.token_ids, r.forced, r.finish_reason) for r in expected
    ]


def test_moved_weights_are_noticed_and_captured_anew() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    engine = taped_engine(model)
    before = engine.generate(prompts, 3, SAMPLED)
    parameter = model.model.layers[1].mlp.up_proj.weight
    parameter.data = parameter.data * 1.5
    after = engine.generate(prompts, 3, SAMPLED)
    assert engine.stats.captured_graphs > 1
    assert tokens(after) != tokens(before)
    assert largest_gap(model, prompts, after) < 1e-4


def halve(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    return output * 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.merge_adapter(),
        lambda model: model.base_model.disable_adapter_layers(),
        lambda model: model.get_base_model().lm_head.register_forward_hook(halve),
    ],
    ids=["merged", "disabled", "hook"],
)
def test_other_adapters_and_hooks_are_noticed(change: Callable[[torch.nn.Module], object]) -> None:
    prompts = prompts_of(LENGTHS)
    model = get_peft_model(scratch_llama(), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    engine = taped_engine(model)
    engine.generate(prompts, 3, SAMPLED)
    change(model)
    rollouts = engine.generate(prompts, 3, SAMPLED)
    assert engine.stats.captured_graphs > 1
    assert largest_gap(model, prompts, rollouts) < 1e-4


def test_the_hooks_of_gradient_checkpointing_may_come_and_go() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    model.gradient_checkpointing_enable()
    engine = taped_engine(model)
    engine.generate(prompts, 3, SAMPLED)
    model.gradient_checkpointing_disable()
    model.gradient_checkpointing_enable()  # which registers the hook of its inputs once more
    engine.generate(prompts, 3, SAMPLED)
    assert engine.stats.captured_graphs < 3


def test_weights_that_move_before_every_call_end_the_capturing_with_one_warning() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    expected = RolloutEngine(model).generate(prompts, 3, SAMPLED)
    engine = taped_engine(model)
    with pytest.warns(UserWarning, match="without CUDA graphs: weights, adapters, hooks or autocast had changed"):
        for _ in range(5):
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
            assert tokens(engine.generate(prompts, 3, SAMPLED)) == tokens(expected)
    assert engine.stats.replayed_steps == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.generate(prompts, 3, SAMPLED)


def test_a_step_that_no_graph_holds_runs_eagerly_and_says_why() -> None:
    model, prompts = scratch_llama(), prompts_of(LENGTHS)
    expected = RolloutEngine(model).generate(prompts, 3, SAMPLED)
    engine = taped_engine(model)

    def refuse(step: object, neighbour: object) -> None:
        raise NotCapturable("it waits")

    engine.decoder.graphs = StepGraphs(refuse, torch.device("cpu"))
    with pytest.warns(UserWarning, match="without CUDA graphs: it waits"):
        assert tokens(engine.generate(prompts, 3, SAMPLED)) == tokens(expected)


def test_partitioned_weights_are_refused() -> None:
    model = scratch_llama()
    assert why_not_capturable(model) is None
    model.model.norm.weight.data = torch.empty(0)
    assert why_not_capturable(model) == "model.norm.weight is empty (partitioned, as under ZeRO-3)"


def test_graphs_are_turned_off_where_there_is_no_cuda() -> None:
    engine = RolloutEngine(scratch_llama(), page_tokens=PAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.generate(prompts_of((5,)), 1, SAMPLED)
    assert engine.stats.captured_graphs == engine.stats.replayed_steps == 0


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 100, 256])
def test_buckets_hold_every_batch_with_at_most_a_third_of_padding(rows: int) -> None:
    sizes = buckets(rows)
    for count in range(1, rows + 1):
        assert min(size for size in sizes if size >= count) * 2 <= 3 * count
    assert sizes[-1] == rows
