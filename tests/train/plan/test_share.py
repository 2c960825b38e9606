"""A run on several GPUs: what each keeps and what they tell one another, by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import a_run, a_workload

from train.plan.costs import Costs
from train.plan.devices import GIB, GPUS, find_gpu
from train.plan.outlook import advise, largest_rows, look_at, look_further
from train.plan.share import Share, communicated, communication_seconds, shared_out
from train.plan.step_plan import ROOM, plan_cache, plan_memory, plan_times

pytestmark = pytest.mark.usefixtures("traced_once")


def costs_of(**changes):
    return Costs(a_run(), a_workload(**changes), gpu=True)


@given(
    samples=st.integers(1, 16),
    groups=st.integers(1, 64),
    rows=st.integers(1, 32),
    processes=st.sampled_from([1, 8, 64]),
)
def test_a_step_is_shared_out_in_whole_groups_and_nothing_is_lost(samples, groups, rows, processes):
    work = shared_out(a_workload(rows=rows, samples=samples), samples * groups, processes)
    assert work.rollouts % samples == 0 and work.rows <= max(rows, 1)
    assert samples * groups <= work.rollouts * processes < samples * (groups + processes)


def test_data_parallel_every_process_keeps_all_and_ddp_its_buckets():
    costs, gpu = costs_of(), GPUS["H100"]
    cache = plan_cache(costs, gpu)
    alone, eight = (plan_memory(costs, gpu, cache, share=Share(count)).phases["loss"] for count in (1, 8))
    assert eight["weights"] == alone["weights"] and eight["moments"] == alone["moments"]
    assert eight["buckets"] == costs.sizes.gradients


def test_sharded_every_process_keeps_its_part_beside_a_whole_copy_in_the_type_of_the_forward():
    costs, gpu = costs_of(bf16=True), GPUS["H100"]
    share = Share(8, sharded=True)
    phases = plan_memory(costs, gpu, plan_cache(costs, gpu, share), share=share).phases
    assert phases["update"]["weights"] == costs.sizes.weights / 8
    assert phases["update"]["moments"] == costs.sizes.moments / 8
    assert phases["update"]["gradients"] == costs.sizes.gradients / 8
    assert phases["rollouts"]["whole copy"] == 2 * costs.sizes.total


def test_sharded_gradients_lie_whole_until_the_last_micro_batch():
    gpu, share = GPUS["H100"], Share(8, sharded=True)
    several, one = (
        plan_memory(costs, gpu, plan_cache(costs, gpu, share), share=share).phases["loss"]["gradients"]
        for costs in (costs_of(micro_batches=2), costs_of(rows=8, micro_batches=1))
    )
    assert several >= costs_of().sizes.gradients > 2 * one


def test_gpus_exchange_gradients_and_shards():
    costs = costs_of(bf16=True, micro_batches=3)
    gradients, copy = costs.sizes.gradients, 2 * costs.sizes.total
    assert communicated(costs, Share(1)) == 0
    assert communicated(costs, Share(8)) == pytest.approx(2 * gradients * 7 / 8)
    assert communicated(costs, Share(8, sharded=True)) == pytest.approx((7 * copy + gradients) * 7 / 8)
    gpu = GPUS["H100"]
    per_byte = [
        communication_seconds(costs, gpu, share) / communicated(costs, share) for share in (Share(8), Share(16))
    ]
    assert per_byte[1] / per_byte[0] == pytest.approx(gpu.link / gpu.network)


def test_communication_is_part_of_a_step():
    costs, gpu = costs_of(), GPUS["A10G"]
    times = plan_times(costs, gpu, plan_cache(costs, gpu), Share(8))
    assert times.communication > 0
    assert times.step == pytest.approx(times.rollouts + times.loss + times.update + times.communication)


def test_the_largest_micro_batch_fits_and_the_next_does_not():
    costs = costs_of(rows=1, micro_batches=64, most=512, mean=256.0)
    small = replace(GPUS["A10G"], memory=1.35 * GIB)
    cache = plan_cache(costs, small)
    rows = largest_rows(costs, small, cache)
    assert 1 <= rows < 64
    assert plan_memory(costs, small, cache, rows).peak <= ROOM * small.memory
    assert plan_memory(costs, small, cache, 2 * rows).peak > ROOM * small.memory
    assert look_at(advise(costs, small).costs, small, Share()).fits


def test_where_the_run_does_not_fit_the_least_change_is_advised():
    costs = costs_of(rows=8, micro_batches=1, samples=8, most=900, mean=450.0)
    gpu = GPUS["A10G"]
    enough = advise(costs, gpu)
    assert enough.settings == {} and enough.costs.work.rows == 8
    peak = {}
    for name, changed in (("plain", costs), ("recomputed", costs.altered(gradient_checkpointing=True))):
        changed = changed.altered(changed.work.with_rows(1))
        peak[name] = plan_memory(changed, gpu, plan_cache(changed, gpu)).peak
    assert peak["recomputed"] < peak["plain"]
    assert advise(costs, replace(gpu, memory=0.5 * GIB)) is None  # CUDA alone takes more


def test_a_run_shared_out_has_an_outlook_for_each_number_of_gpus():
    costs = costs_of(rows=4, micro_batches=16)
    rows = look_further(costs, GPUS["H100"], 64, (1, 8, 64))
    assert [(row.share.processes, row.share.name) for row in rows] == [
        (1, "alone"), (8, "DDP"), (8, "FSDP2"), (64, "DDP"), (64, "FSDP2"),
    ]  # fmt: skip
    assert [row.rollouts for row in rows] == [64, 64, 64, 256, 256]  # each of 64 has at least a group of four
    assert rows[1].times.loss < rows[0].times.loss / 4


def test_a_gpu_is_found_by_name_or_by_size():
    assert find_gpu("h100").name == "H100"
    assert find_gpu("24GB").name == "24GB (as A10G)"
    with pytest.raises(ValueError, match=r"--gpu is 'H9000'; expected cpu, one of A10G"):
        find_gpu("H9000")


def test_a_faster_gpu_is_faster_and_a_larger_cache_runs_more():
    costs = costs_of(rows=16, micro_batches=16)
    slow, fast = (plan_times(costs, GPUS[name], plan_cache(costs, GPUS[name])) for name in ("A10G", "H100"))
    assert fast.rollouts < slow.rollouts and fast.loss <= slow.loss
    few = replace(GPUS["H100"], memory=0.81 * GIB)  # of which CUDA itself takes 0.8
    assert plan_cache(costs, few).rows < plan_cache(costs, GPUS["H100"]).rows == 256
