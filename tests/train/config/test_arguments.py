"""Every option is held against its type and range; the refusal is one line, and comes before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from train.config.arguments import read_values
from train.config.refused import refused
from train.rewards.own import load_reward

ROOT = Path(__file__).parents[3]


@pytest.fixture
def read(tmp_path):
    """Read a config file of these values, and a command line."""

    def values(*arguments, **content):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"name": "x", "tasks": {"countdown": {}}} | content))
        return read_values([f"--config={path}", *arguments])

    return values


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top_k", -1, "a whole number, 0 or more"),
        ("top_p", 1.5, "a number, more than 0 and at most 1"),
        ("min_p", 2, "a number, 0 or more and below 1"),
        ("max_completion_length", 0, "a whole number, 1 or more"),
        ("max_completion_length", None, "a whole number, 1 or more"),
        ("lora_rank", 4.0, "a whole number, 0 or more"),
        ("lora_alpha", 0, "a whole number, 1 or more"),
        ("lora_alpha", -8, "a whole number, 1 or more"),
        ("num_generations_eval", 0, "a whole number, 1 to 1,000,000"),
        ("gradient_accumulation_steps", 10**9, "a whole number, 1 to 1,000,000"),
        ("dataloader_num_workers", 10**9, "a whole number, 0 to 1,024"),
        ("pad_to_multiple_of", 10**9, "a whole number, 1 to 65,536"),
        ("max_steps", 10**30, "at most 1,000,000,000,000"),
        ("cache_gib", 1e300, "a number, more than 0, at most 1,000,000,000,000"),
        ("cold_start_steps", 10**30, "a whole number, 0 or more, at most 1,000,000,000,000"),
        ("lr_scheduler_kwargs", "x", "a mapping"),
        ("gradient_checkpointing_kwargs", " ", "a mapping"),
        ("dataloader_multiprocessing_context", "x", "one of: fork, spawn, forkserver"),
        ("runs_dir", " ", "a folder, such as runs"),
        ("validation_problems", 1.5, "a whole number, 0 to 10,000,000"),
        ("train_problems", 100.5, "a whole number, 1 to 10,000,000"),
        ("train_problems", 10**9, "a whole number, 1 to 10,000,000"),
        ("train_problems", "many", "a whole number, 1 to 10,000,000"),
        ("learning_rate", float("inf"), "a number, 0 or more"),
        ("learning_rate", -1, "a number, 0 or more"),
        ("learning_rate", True, "a number, 0 or more"),
        ("max_grad_norm", float("nan"), "a number, 0 or more"),
        ("max_steps", -5, "a whole number, 1 or more, or -1"),
        ("epsilon", -1, "a number, 0 or more"),
        ("num_iterations", 0, "a whole number, 1 or more"),
        ("cache_gib", 0, "a number, more than 0"),
        ("seed", 10**400, "a whole number, 0 to 4,294,967,295"),
        ("importance_sampling_level", "tokens", "one of: token, sequence"),
        ("scale_rewards", "batches", "true or false, or one of: group, batch, none"),
        ("multi_objective_aggregation", "foo", "one of: sum_then_normalize, normalize_then_sum"),
        ("lr_scheduler_type", "foo", "one of: linear, cosine"),
        ("torch_compile_backend", "x", "one of: inductor, eager"),
        ("torch_compile_mode", "fast", "one of: default, reduce-overhead"),
        ("runs_dir", "", "a folder, such as runs"),
        ("tasks", [1], "a mapping"),
        ("name", "-x", "a folder name"),
        ("name", "*", "a folder name"),
        ("name", " ", "a folder name"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused_by_name(read, name, value, expected):
    with pytest.raises(ValueError) as caught:
        read(**{name: value})
    shown = repr(value)[:50]
    assert str(caught.value).startswith(f"{name} is {'null' if value is None else shown}")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("resume_from_checkpoint", "runs/x/checkpoints/checkpoint-1", "give --resume"),
        ("output_dir", "elsewhere", "set runs_dir and name"),
        ("model_init_kwargs", {"dtype": "bfloat16"}, "set model_dtype"),
        ("remove_unused_columns", True, "would take from each row the problem"),
        ("generation_kwargs", {"top_k": 5}, "leave it out"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_with_what_to_do_instead(read, name, value, instead):
    with pytest.raises(ValueError, match=f"^{name} is .*{instead}"):
        read(**{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--learing_rate", "1"), "Unknown option learing_rate; did you mean learning_rate?"),
        (("--zzz",), "Unknown option zzz; `python -m train --help` lists all."),
        (("--max_steps", "3", "4"), "--max_steps takes one value, and the command line has 2: 3 4."),
        (("--max_steps",), "--max_steps takes one value, and the command line has none."),
        (("now",), "Unexpected argument 'now'; options are written --name value."),
        (("--config", "other.yaml"), "--config is given twice; give one file."),
    ],
)
def test_a_slip_on_the_command_line_is_one_line(read, arguments, message):
    with pytest.raises(ValueError) as caught:
        read(*arguments)
    assert str(caught.value) == message


def test_a_typo_in_the_file_names_the_file_and_the_option_that_looks_like_it(read):
    with pytest.raises(ValueError, match=r"config\.yaml: Unknown option learing_rate; did you mean learning_rate\?"):
        read(learing_rate=1)


def test_words_that_yaml_reads_as_truth_values_are_words_again(read):
    values = read(contamination=False, eval_strategy=False, scale_rewards=False, resume="yes")
    assert (values.run.contamination, values.run.resume) == ("off", True)
    assert (values.trl["eval_strategy"], values.trl["scale_rewards"]) == ("no", False)


def test_the_command_line_is_read_as_argparse_would(read):
    values = read("--max-steps=7", "--learning_rate", "1e-4", "--no_shuffle_dataset", "--overwrite", "--top_k", "0")
    assert values.trl == {"max_steps": 7, "learning_rate": 1e-4, "shuffle_dataset": False, "top_k": 0}
    assert values.run.overwrite


def test_of_many_choices_some_are_shown_and_those_that_look_like_the_value(read):
    with pytest.raises(
        ValueError, match=r"^optim is 'adamw_tor'; .*\w and \d+ more\. Did you mean adamw_torch or"
    ) as caught:
        read(optim="adamw_tor")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("system_prompt", "a\0b"),
        ("chat_template", "\ud800"),
        ("runs_dir", "\0"),
        ("tasks", {"math": {"source": "\ud800"}}),
        ("rewards", ["\0"]),
    ],
)
def test_a_character_that_no_file_holds_is_refused_by_name(read, name, value):
    with pytest.raises(ValueError, match=rf"^{name} holds the character '\\.*', which no text has; leave it out\.$"):
        read(**{name: value})


def test_a_refusal_is_one_line_of_bounded_length(capsys):
    assert refused(ValueError("a is\nb; " + "x" * 100_000 + " at the end.")) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: a is b; xxx") and line.endswith(" at the end.\n") and len(line) < 2_000


def test_a_home_folder_is_the_users(read, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert read(runs_dir="~/runs").run.folder == Path("/home/ada/runs/x")
    with pytest.raises(ValueError, match=r"the path '~nobody-here/x' begins with the home folder of a user whom"):
        read(runs_dir="~nobody-here/x")


def test_files_in_a_home_folder_are_read(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "problems.jsonl").write_text('{"question": "1 + 1", "answer": "2"}\n')
    (tmp_path / "rewards.py").write_text("def none(completion_ids, **_):\n    return [0.0 for _ in completion_ids]\n")
    (tmp_path / "x.yaml").write_text("name: x\ntasks: {math: {source: ~/problems.jsonl}}\nmodel: smollm2-135m\n")
    assert read_values(["--config=~/x.yaml"]).run.parts[0].task == "math"
    assert load_reward("~/rewards.py:none")(completion_ids=[[1]]) == [0.0]


def test_a_truth_value_that_stands_for_no_word_says_how_yaml_reads_it(read):
    with pytest.raises(ValueError, match=r"rollout_correction is False \(YAML reads off and no as False\); expected"):
        read(rollout_correction=False)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "twice.yaml").write_text("name: a\ntasks: {countdown: {}}\nname: b\n")
    with pytest.raises(ValueError, match="line 3: name is given twice"):
        read_values(["--config", str(tmp_path / "twice.yaml")])
    (tmp_path / "twice.yaml").write_text("name: a\ntasks:\n  countdown: {}\n  countdown: {numbers: 3}\n")
    with pytest.raises(ValueError, match="line 4: countdown is given twice"):
        read_values(["--config", str(tmp_path / "twice.yaml")])


def test_a_refusal_imports_neither_torch_nor_trl(tmp_path):
    program = (
        "import sys; from train.__main__ import main; sys.argv = ['train', '--name', 'x', '--learning_rate', '-1']; "
        "code = main(); print(code, {'torch', 'transformers', 'trl'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2 set()\n"
    assert done.stderr == "error: learning_rate is -1.0; expected a number, 0 or more.\n"
