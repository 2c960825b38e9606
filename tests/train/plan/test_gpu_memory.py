"""What rollouts keep on a GPU beside the weights: the pool, and the weights laid out for decoding."""

from dataclasses import replace

import pytest
from planning import a_run, a_workload

from train.plan.costs import Costs
from train.plan.devices import GIB, GPUS
from train.plan.step_plan import plan_cache, plan_memory

WORK = {"rows": 16, "micro_batches": 16, "most": 512, "mean": 128.0}


def costs_of(**settings):
    return Costs(a_run(**settings), a_workload(**WORK), gpu=True)


@pytest.mark.parametrize(("gpu", "tokens"), [(True, 4096), (False, 512)])
def test_prompts_run_in_larger_chunks_on_a_gpu(gpu, tokens):
    work = a_workload(rows=64, micro_batches=16, prompt=40)  # 256 prompts
    assert Costs(a_run(), work, gpu=gpu).prefill.tokens == tokens


def test_shadow_weights_are_kept_through_the_step_and_count_within_cache_gib():
    free, bound = costs_of(), costs_of(cache_gib=0.05)
    assert free.shadow == 4 * free.sizes.total
    phases = plan_memory(free, GPUS["H100"], plan_cache(free, GPUS["H100"])).phases
    assert {phase["shadow weights"] for phase in phases.values()} == {free.shadow}
    cache = plan_cache(bound, GPUS["H100"])
    assert cache.shadow > 0 and cache.bytes + cache.shadow <= 0.05 * GIB
    tight = costs_of(cache_gib=1.9 * free.shadow / GIB)  # more than half: the engine runs the module instead
    assert plan_cache(tight, GPUS["H100"]).shadow == 0


def test_a_pool_is_for_the_expected_lengths_and_given_back_before_the_loss_if_it_is_large():
    costs, gpu = costs_of(), GPUS["H100"]
    cache = plan_cache(costs, gpu)
    worst = 256 * (8 + 512) * costs.token_bytes
    assert 0.3 * worst < cache.bytes < 0.6 * worst  # one and a half mean lengths of 128
    assert plan_memory(costs, gpu, cache).phases["loss"]["cache"] == cache.bytes
    small = replace(gpu, memory=9 * cache.bytes)
    assert "cache" not in plan_memory(costs, small, cache).phases["loss"]


def test_max_rows_bounds_the_rollouts_that_run_at_once():
    assert costs_of().most_rows == 256  # all of the step
    assert costs_of(max_rows=64).most_rows == plan_cache(costs_of(max_rows=64), GPUS["H100"]).rows == 64
