import re
from pathlib import Path

import pytest
import yaml

from train.config.parse import parse_config, save_config

CONFIGS = sorted(Path(__file__).parents[3].glob("configs/*.yaml"))


def write(tmp_path, **values):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "tasks": {"countdown": {}}, "use_cpu": True} | values))
    return str(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_parses(path):
    run, training = parse_config(["--config", str(path), "--use_cpu", "true"])
    assert run.name == path.stem
    assert training.output_dir == str(Path("runs") / path.stem / "checkpoints")


def test_a_momentum_of_zero_is_one_that_torch_takes(tmp_path):
    _, training = parse_config(["--config", write(tmp_path, adam_beta1=0)])
    assert isinstance(training.adam_beta1, float)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_config_repeats_a_default(path):
    given = yaml.safe_load(path.read_text())
    tasks, name = given.pop("tasks"), given.pop("name")
    bare = parse_config(["--name", name, "--tasks", '{"countdown": {}}'])
    for key, value in given.items():
        default = next(getattr(part, key) for part in bare if hasattr(part, key))
        assert value != default, f"{key}: {value} is the default"
    assert tasks


def test_the_command_line_overrides_the_file(tmp_path):
    run, training = parse_config(["--config", write(tmp_path, max_steps=9), "--max_steps", "3", "--name", "y"])
    assert (run.name, training.max_steps) == ("y", 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1e-4}, "learning_rat"),
        ({"tasks": {"chess": {}}}, "Unknown task 'chess'"),
        ({"tasks": None}, "expected a mapping"),
        ({"name": ""}, "expected a folder name"),
        ({"name": "../up"}, "expected a folder name"),
        ({"backend": "magic"}, "backend is 'magic'"),
        ({"model": "scratch", "scratch": {"layers": 3}}, "Unknown scratch setting 'layers'"),
        ({"scratch": {"architecture": "gpt2"}}, "expected one of: llama, qwen3"),
        (
            {"scratch": {"hidden_size": 10**9}},
            "scratch.hidden_size is 1000000000; expected a whole number, 1 to 16,384",
        ),
        ({"scratch": {"hidden_size": 64.0}}, "scratch.hidden_size is 64.0; expected a whole number"),
        ({"scratch": {"num_hidden_layers": 10**6}}, "expected a whole number, 1 to 256"),
        ({"scratch": {"initializer_range": float("nan")}}, "scratch.initializer_range is nan; expected a number"),
        ({"liger_kernel_config": {"rope": True}}, "liger_kernel_config is set, but use_liger_kernel is not; set both"),
        ({"accelerator_config": "x"}, "No such file or directory: 'x'"),
        ({"gradient_checkpointing_kwargs": {"a": 1}}, "gradient_checkpointing_kwargs has 'a'; expected some of: use_"),
        ({"backend": "generate", "cache_gib": 1.0}, "cache_gib is 1.0, but backend is generate, which would ignore it"),
        ({"backend": "generate", "max_rows": 4}, "max_rows is 4, but backend is generate, which would ignore it"),
        ({"metric_for_best_model": "eval_accuracy/gsm8k"}, "which no validation measures; expected one of: accuracy, "),
        ({"metric_for_best_model": "acuracy"}, "'acuracy', which no validation measures; expected one of: accuracy, "),
        ({"scratch": {"hidden_size": 130}}, "expected a multiple of scratch.num_attention_heads"),
        ({"model": "some/model", "scratch": {"hidden_size": 64}}, "leave one out"),
        ({"cold_start_steps": -1}, "cold_start_steps is -1"),
        ({"guard_fraction": 2.0}, "guard_fraction is 2.0"),
        ({"screening_samples": 1}, "screening_samples is 1"),
        ({"oversample": 0.5}, "oversample is 0.5"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"lora_rank": 8}, "model is scratch"),
        ({"thinking_budget": 0}, "thinking_budget is 0"),
        ({"thinking_budget": 64, "backend": "generate"}, "use backend: engine"),
        ({"thinking_budget": 64, "backend": "vllm"}, "use backend: engine"),
        ({"thinking_budget": 64, "max_completion_length": 64}, "leaves no room for an answer"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"loss_type": "foo"}, "loss_type is 'foo'"),
        ({"repetition_penalty": 1.1}, "Rethink would ignore"),
        ({"label_names": ["a"]}, "label_names is ['a'], which Rethink would ignore"),
        ({"local_rank": 1}, "local_rank is 1, which Rethink would ignore"),
        ({"restore_callback_states_from_checkpoint": True}, "which Rethink would ignore; --resume restores all"),
        ({"eval_do_concat_batches": False}, "eval_do_concat_batches is False, which Rethink would ignore"),
        ({"ignore_data_skip": True}, "would have a resumed run begin its epoch's problems again; leave it out"),
        ({"dataloader_drop_last": True}, "would leave out validation problems that fill no batch; leave it out"),
        ({"enable_jit_checkpoint": True}, "which would answer SIGTERM"),
        ({"accelerator_config": {"split_batches": True}}, "accelerator_config sets split_batches"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": "no"}}, "use_reentrant is 'no'; expected true or false"),
        ({"gradient_checkpointing_kwargs": {"determinism_check": "off"}}, "'off'; expected default or none"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of is 0; expected a whole number, 1 to 65,536, or one of: auto"),
        ({"pad_to_multiple_of": "-8"}, "pad_to_multiple_of is -8"),
        ({"pad_to_multiple_of": "x"}, "pad_to_multiple_of is 'x'"),
        ({"adam_epsilon": 0.0}, "adam_epsilon is 0.0; expected a number, more than 0"),
        ({"delta": 1.0}, "delta is 1.0; expected a number, more than 1"),
        ({"use_vllm": True}, "set backend: vllm"),
        ({"name": 5}, "name is 5; expected text, in quotes"),
        (
            {"use_adaptive_entropy": True, "entropy_coef_min": 0.5, "entropy_coef_max": 0.1},
            "entropy_coef_min is 0.5 and entropy_coef_max 0.1; expected min at most max",
        ),
        (
            {"use_adaptive_entropy": True, "entropy_coef": 0.5, "entropy_coef_max": 0.1},
            "entropy_coef is 0.5, but entropy_coef_max is 0.1",
        ),
        ({"screening_samples": 64, "num_generations": 8}, "screening_samples is 64, more than a group has"),
        ({"keep_last": -1}, "keep_last is -1"),
        ({"keep_last": 2, "save_total_limit": 2}, "leave save_total_limit out"),
        ({"keep_best": 1}, "needs keep_last"),
        (
            {"keep_last": 1, "keep_best": 1, "eval_strategy": "steps", "eval_steps": 7, "save_steps": 10},
            "does not divide save_steps",
        ),
        ({"num_generations": 16, "per_device_train_batch_size": 24}, "num_generations"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_config(["--config", write(tmp_path, **values)])


def test_a_cpu_trains_in_float32_whatever_the_launcher_says(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    _, training = parse_config(["--config", write(tmp_path)])
    assert training.mixed_precision == "no" and not training.bf16


@pytest.mark.parametrize("there", [True, False])
def test_memory_is_pinned_only_where_there_is_an_accelerator(tmp_path, monkeypatch, there):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: there)
    _, training = parse_config(["--config", write(tmp_path, use_cpu=False)])
    assert training.dataloader_pin_memory == there


def test_a_batch_that_groups_do_not_fill_is_refused_with_the_options_that_make_it(tmp_path):
    with pytest.raises(ValueError, match=r"per_device_train_batch_size \* .*: make that a multiple of num_gen"):
        parse_config(["--config", write(tmp_path, num_generations=7, per_device_train_batch_size=8)])


def test_groups_that_would_span_processes_are_refused(tmp_path, monkeypatch):
    from train.config.option_checks import check_groups

    _, training = parse_config(["--config", write(tmp_path, num_generations=8, per_device_train_batch_size=8)])
    training.per_device_train_batch_size = 4  # two processes of 4: the batch of 8 holds a group, no process does
    with pytest.raises(ValueError, match="a group would span processes"):
        check_groups(training)


def test_an_evaluation_batch_is_cut_to_the_validation_rollouts_and_holds_whole_groups(tmp_path):
    values = {"validation_problems": 6, "num_generations_eval": 4, "per_device_eval_batch_size": 128}
    _, training = parse_config(["--config", write(tmp_path, **values)])
    assert training.per_device_eval_batch_size == 24


def test_a_config_that_is_not_there_or_no_yaml_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        parse_config(["--config", str(tmp_path / "none.yaml")])
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="not valid YAML") as caught:
        parse_config(["--config", str(tmp_path / "bad.yaml")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_saved_config_gives_the_same_run_again(tmp_path, path):
    # 256 and 8 are TRL's defaults where ours differ: left out of the file, they would come back as ours.
    changes = ["--max_completion_length", "256", "--num_generations", "8", "--beta", "0.04"]
    run, training = parse_config(["--config", str(path), *changes])
    save_config(run, training, tmp_path / "saved.yaml")
    again_run, again = parse_config(["--config", str(tmp_path / "saved.yaml")])
    assert again_run == run
    ours, theirs = again.to_dict(), training.to_dict()
    assert {key: value for key, value in ours.items() if value != theirs[key]} == {}


def test_the_saved_config_keeps_how_many_steps_a_generation_serves(tmp_path):
    batch = ["--num_generations", "2", "--per_device_train_batch_size", "2", "--use_cpu", "true"]
    run, training = parse_config(
        ["--name", "x", "--tasks", '{"arithmetic": {}}', *batch, "--steps_per_generation", "4"]
    )
    save_config(run, training, tmp_path / "saved.yaml")
    _, again = parse_config(["--config", str(tmp_path / "saved.yaml")])
    assert again.steps_per_generation == 4
