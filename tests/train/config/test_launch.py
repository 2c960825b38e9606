"""What the launcher says, understood and refused early; the files in configs/accelerate, read as accelerate does."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_simple_launcher_cmd_env
from launching import ACCELERATE, launch_arguments, launch_environment

from train.config import launch as launch_module
from train.config.launch import KINDS, SAMPLERS, Launch, check_launch, find_launch, refusal
from train.config.parse import parse_config

RUN = ["--name", "x", "--tasks", '{"countdown": {}}', "--cold_start_steps", "1"]
FILES = {
    "one-gpu": "one process", "ddp": "DDP", "fsdp2": "FSDP2", "zero2": "ZeRO-2", "zero3": "ZeRO-3",
    "multi-node": "DDP", "vllm-server": "DDP",
}  # fmt: skip
GPUS = Launch(
    kind="DDP", processes=8, local_processes=8, on_cpu=False, gpus=8, whole_checkpoints=True, recomputes=False
)


def said_to_processes(name: str) -> dict[str, str]:
    """The environment that `accelerate launch` gives its processes, but for what torchrun adds: the numbers."""
    arguments = launch_arguments(name, "--main_process_port", "0")
    if FILES[name].startswith("ZeRO"):
        arguments.deepspeed_fields_from_accelerate_config = ""
        _, environment = prepare_deepspeed_cmd_env(arguments)
    elif FILES[name] == "one process":
        _, environment = prepare_simple_launcher_cmd_env(arguments)
    else:
        environment = launch_environment(name, arguments.num_processes)
    return environment | {"WORLD_SIZE": str(arguments.num_processes)}


def test_every_file_is_known_here():
    assert {path.stem for path in ACCELERATE.glob("*.yaml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_by_accelerate_and_says_what_its_name_does(name, monkeypatch):
    config = load_config_from_file(str(ACCELERATE / f"{name}.yaml"))  # refuses unknown keys at the top
    assert isinstance(config, ClusterConfig)
    arguments = launch_arguments(name)
    for part in ("fsdp_config", "deepspeed_config"):
        for key in getattr(config, part):
            assert hasattr(arguments, key), f"accelerate launch has no option {key}"
    # A launch from these files meets no refusal but one for want of hardware or DeepSpeed.
    monkeypatch.setattr(launch_module, "find_spec", lambda _: object())
    found = find_launch(said_to_processes(name))
    assert found.kind == FILES[name]
    check_launch(replace(found, local_processes=8, gpus=8))


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is_for_and_how_it_is_typed(name):
    lines = (ACCELERATE / f"{name}.yaml").read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    assert lines[: len(head)] == head and len(head) <= 6
    (command,) = [line.removeprefix("#").split() for line in head if line.startswith("#   accelerate launch")]
    start = command.index("-m")
    assert command[start : start + 4] == ["-m", "train", "--config", "configs/X.yaml"]
    assert command[3] == f"configs/accelerate/{name}.yaml"
    # accelerate takes the options before -m, and train those behind it.
    launch_arguments(name, *command[4:start])
    parse_config([*RUN, *command[start + 4 :]])


def test_the_fsdp_file_builds_the_plugin_that_training_needs(monkeypatch):
    for key, value in said_to_processes("fsdp2").items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)  # what plain transformers loads
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert plugin.reshard_after_forward is True


def test_the_deepspeed_files_say_their_stage_and_save_whole_weights():
    assert said_to_processes("zero2")["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2"
    three = said_to_processes("zero3")
    assert three["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert three["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, "one process"),
        ({"WORLD_SIZE": "4"}, "DDP"),
        ({"WORLD_SIZE": "4", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, "FSDP2"),
        ({"WORLD_SIZE": "4", "ACCELERATE_USE_FSDP": "true"}, "FSDP1"),
        ({"WORLD_SIZE": "4", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "ZeRO-3"),
        ({"WORLD_SIZE": "4", "ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
    ],
)
def test_the_kind_is_what_the_launcher_says(environment, kind):
    assert find_launch(environment).kind == kind


def test_the_stage_is_read_from_a_file_of_deepspeeds_own(tmp_path):
    file = tmp_path / "ds.json"
    environment = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    assert find_launch(environment).kind == "ZeRO-3"
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"zero_optimization.stage cannot be read.*zero2.yaml"):
        find_launch(environment)


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        (replace(GPUS, kind="FSDP1"), "set fsdp_version: 2"),
        (replace(GPUS, kind="Megatron-LM"), "expected one of: one process, DDP, FSDP2"),
        (replace(GPUS, kind="FSDP2", processes=1, local_processes=1), "give --num_processes 2 or more"),
        (replace(GPUS, kind="FSDP2", whole_checkpoints=False), "set fsdp_state_dict_type: FULL_STATE_DICT"),
        (replace(GPUS, kind="ZeRO-2"), "pip install deepspeed"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_with_its_mend(launch, message, monkeypatch):
    monkeypatch.setattr(launch_module, "find_spec", lambda _: None)
    check_launch(GPUS)
    check_launch(replace(GPUS, kind="FSDP2"))
    with pytest.raises(ValueError, match=message):
        check_launch(launch)


@pytest.mark.parametrize("without", [{"gpus": 0}, {"on_cpu": True}])
def test_deepspeed_without_gpus_is_refused(without, monkeypatch):
    monkeypatch.setattr(launch_module, "find_spec", lambda _: object())
    check_launch(replace(GPUS, kind="ZeRO-3"))
    with pytest.raises(ValueError, match=r"DeepSpeed needs a GPU.*ddp.yaml or fsdp2.yaml"):
        check_launch(replace(GPUS, kind="ZeRO-3", **without))


def test_more_processes_than_gpus_are_refused_but_on_a_cpu():
    crowded = replace(GPUS, processes=1, gpus=1)
    assert "one for each" in refusal(crowded, *parse_config(RUN))
    assert refusal(crowded, *parse_config([*RUN, "--use_cpu", "true"])) is None
    assert refusal(replace(crowded, on_cpu=True), *parse_config(RUN)) is None
    assert refusal(replace(crowded, gpus=0), *parse_config(RUN)) is None


def test_sharding_on_the_cpu_of_a_machine_with_gpus_is_refused():
    launch = replace(GPUS, kind="FSDP2", processes=1)
    assert refusal(launch, *parse_config(RUN)) is None
    for on_cpu, options in ((True, []), (False, ["--use_cpu", "true"])):
        assert "CUDA_VISIBLE_DEVICES=" in refusal(replace(launch, on_cpu=on_cpu), *parse_config([*RUN, *options]))
    assert refusal(replace(launch, gpus=0, on_cpu=True), *parse_config(RUN)) is None


# What is refused, by the option that is set and the launch: (kinds, back ends), or all.
REFUSED = {
    (): ((), ()),
    ("--sync_ref_model", "true", "--beta", "0.1"): (("FSDP2", "ZeRO-3"), SAMPLERS),
    ("--cast_lm_head_to_fp32", "true"): (("FSDP2",), ("engine", "generate")),
    ("--gradient_checkpointing", "true"): ((), ()),
    ("--use_cpu", "true"): (("FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3"), SAMPLERS),  # there are GPUs
    ("--model", "smollm2-135m", "--lora_rank", "8"): ((), ()),
}


@pytest.mark.parametrize("options", REFUSED)
def test_every_kind_of_launch_with_every_back_end(options):
    kinds, samplers = REFUSED[options]
    for kind, sampler in product(KINDS, SAMPLERS):
        backend, _, mode = sampler.partition(" ")
        given = [*RUN, *options, "--backend", backend, *(["--vllm_mode", mode] if mode else [])]
        run, training = parse_config(given)
        why = refusal(replace(GPUS, kind=kind, processes=training.world_size), run, training)
        assert bool(why) == (kind in kinds and sampler in samplers), (kind, sampler, why)
        assert why is None or "configs/accelerate/" in why  # what to do instead


def test_checkpointing_twice_is_refused():
    launch = replace(GPUS, kind="FSDP2", processes=1)
    run, training = parse_config([*RUN, "--gradient_checkpointing", "true"])
    assert refusal(launch, run, training) is None
    assert "leave one out" in refusal(replace(launch, recomputes=True), run, training)


def test_processes_that_would_each_train_alone_are_refused():
    run, training = parse_config(RUN)
    assert "set use_cpu: true" in refusal(replace(GPUS, processes=2, gpus=0), run, training)


def test_one_process_over_several_gpus_is_refused(monkeypatch):
    run, training = parse_config(RUN)
    alone = replace(GPUS, kind="one process", processes=1, local_processes=1)
    assert refusal(alone, run, training) is None
    training._n_gpu = 8
    assert "one-gpu.yaml" in refusal(alone, run, training)


def test_sharding_in_the_runs_own_configuration_is_refused():
    run, training = parse_config([*RUN, "--fsdp", "full_shard"])
    assert "leave it out, and accelerate launch --config_file" in refusal(replace(GPUS, processes=1), run, training)
    with pytest.raises(ValueError, match="a package that is not installed"):
        parse_config([*RUN, "--deepspeed", "ds.json"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_nccl_on_a_cpu_is_refused_by_the_name_of_the_option():
    with pytest.raises(ValueError, match=r"ddp_backend does not go together.*leave it out"):
        parse_config([*RUN, "--use_cpu", "true", "--ddp_backend", "nccl"])
