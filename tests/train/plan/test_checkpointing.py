"""Gradient checkpointing is left out where the plan finds room for the loss without it."""

from dataclasses import replace

import pytest
import torch
from planning import a_run, a_workload

from train.config.launch import find_launch
from train.config.parse import parse_config
from train.plan import checkpointing
from train.plan.checkpointing import decide_checkpointing, needs_checkpointing
from train.plan.costs import Costs
from train.plan.devices import GPUS
from train.plan.share import ALONE
from train.plan.step_plan import ROOM, plan_cache, plan_memory

WORK = {"rows": 16, "micro_batches": 16, "most": 512, "mean": 128.0, "checkpointing": True}


def test_it_is_left_out_exactly_where_the_loss_fits_without() -> None:
    costs, gpu = Costs(a_run(cache_gib=0.1), a_workload(**WORK), gpu=True), GPUS["H100"]
    without = costs.altered(gradient_checkpointing=False)
    loss = sum(plan_memory(without, gpu, plan_cache(without, gpu)).phases["loss"].values())
    with_it = sum(plan_memory(costs, gpu, plan_cache(costs, gpu)).phases["loss"].values())
    assert with_it < loss
    enough, tight = (replace(gpu, memory=share * loss / ROOM) for share in (1.001, 0.999))
    assert needs_checkpointing(costs, enough, ALONE)[0] is False
    assert needs_checkpointing(costs, tight, ALONE)[0] is True


@pytest.mark.parametrize("gpu", [False, True])
def test_the_decision_is_made_on_a_gpu_alone_and_said(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--name", "x", "--tasks", '{"countdown": {}}', "--plan_checkpointing", "true"]
    run, training = parse_config([*options, "--gradient_checkpointing", "true", "--bf16", "false"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    properties = type("Properties", (), {"name": "a card", "total_memory": 80 * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    said = decide_checkpointing(run, training, find_launch({}))
    assert training.gradient_checkpointing is not gpu
    if gpu:
        assert said is not None and said.startswith("Gradient checkpointing off: the plan counts ")
    else:
        assert said is None


def test_a_model_that_cannot_be_planned_for_keeps_what_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("it has no list of 3 layers")

    options = ["--name", "x", "--tasks", '{"countdown": {}}', "--plan_checkpointing", "true"]
    run, training = parse_config([*options, "--gradient_checkpointing", "true", "--bf16", "false"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = type("Properties", (), {"name": "a card", "total_memory": 80 * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(checkpointing, "read_workload", refuse)
    said = decide_checkpointing(run, training, find_launch({}))
    assert training.gradient_checkpointing and said is not None and said.endswith("it has no list of 3 layers")
