"""A config read for a plan on another machine than this."""

from pathlib import Path

import pytest
import yaml
from planning import a_run

from train.model.loading import ModelError
from train.plan.make_plan import make_plan, read_request
from train.plan.modules import read_config


@pytest.fixture
def config(tmp_path):
    """Writes a training config."""

    def write(**values) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"name": "x", "tasks": {"countdown": {}}, "max_steps": 10} | values))
        return path

    return write


def test_a_gpu_is_planned_for_where_there_is_none_and_the_config_asks_for_a_cpu(config):
    given = read_request(config(use_cpu=True), [], gpu=True)
    assert given.bf16 and not given.training.use_cpu


@pytest.mark.parametrize(("values", "options"), [({"bf16": False}, []), ({}, ["--bf16", "false"])])
def test_bfloat16_is_the_default_on_a_gpu_unless_the_run_says_otherwise(config, values, options):
    assert not read_request(config(**values), options, gpu=True).bf16


def test_bfloat16_is_not_asked_of_this_machine(config):
    assert read_request(config(bf16=True), [], gpu=True).bf16


def test_a_cpu_multiplies_in_float32(config):
    given = read_request(config(), [], gpu=False)
    assert given.training.use_cpu and not given.bf16


def test_options_override_the_file(config):
    assert read_request(config(), ["--max_steps", "3"], gpu=True).training.max_steps == 3


def test_problems_on_a_hub_that_cannot_be_reached_do_not_stop_a_plan(config):
    path = config(tasks={"math": {"source": "nobody/no-such-set"}}, model="Qwen/Qwen2.5-0.5B")
    given = read_request(path, [], gpu=True)
    assert "nobody/no-such-set cannot be loaded" in given.problems
    text, _ = make_plan(path, gpu="H100")
    assert "prompts of 200 tokens, since the problems are not at hand" in text


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"tasks": {"no-such-task": {}}}, {"gpu": "H100"}, "no-such-task"),
        ({"learning_rat": 1}, {"gpu": "H100"}, "learning_rat"),
        ({}, {"gpu": "H9000"}, "--gpu is 'H9000'; expected cpu, one of"),
        ({}, {"gpus": 8}, "--gpus is 8; expected 1 or more; more than one needs a --gpu"),
        ({}, {"gpu": "H100", "mean": 0}, "--mean_tokens is 0"),
        ({"model": "nobody/no-such-model"}, {"gpu": "H100", "mean": 9, "prompt": 9}, "Known without a hub: smollm2"),
        (
            {"model": "Qwen/Qwen2.5-0.5B", "lora_rank": 8, "load_in_4bit": True, "model_dtype": "bfloat16"},
            {},
            "trains on a CUDA GPU only; plan for one with --gpu",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(config, values, options, message):
    with pytest.raises(ValueError, match=message) as refused:
        make_plan(config(**values), **options)
    assert "\n" not in str(refused.value).strip()


def test_a_model_on_disk_is_planned_from_its_configuration_alone(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"")  # never opened
    assert read_config(a_run(model=str(checkpoint), scratch=None)).hidden_size == 32


def test_an_adapter_is_refused_with_what_to_give_instead(checkpoint):
    (checkpoint / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    (checkpoint / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="plan with the model that it was trained from"):
        read_config(a_run(model=str(checkpoint), scratch=None))
