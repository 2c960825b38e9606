"""What is found wrong with a sweep before its first run, as `train` reads its configs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stubbed import spec

from eval.sweep.setup import check as module
from eval.sweep.setup.check import ahead, check
from eval.sweep.setup.parse import identity
from eval.sweep.setup.spec import Spec
from train.config.parse import parse_config

ROOT = Path(__file__).parents[4]
PARSED = {
    "error": "", "tasks": ["countdown"], "problems": 8, "validation": "same", "strategy": "steps", "eval_steps": 2,
    "max_steps": 8, "use_cpu": True,
}  # fmt: skip
TINY = {
    "tasks": {"countdown": {}}, "max_steps": 4, "validation_problems": 8, "use_cpu": True, "num_generations": 4,
    "per_device_train_batch_size": 8,
}  # fmt: skip
OPEN = {"workers": None, "threads": None, "gpus": None, "at_once": None, "startup": None}


@pytest.fixture
def parsed(monkeypatch):
    """Let `train` find what the test says of each config, or of the one whose learning rate it names."""

    def say(gpus=0, only=None, **values):
        def parse(configs):
            found = [
                PARSED | {"resolved": str(c)} | (values if only is None or c["learning_rate"] == only else {})
                for c in configs
            ]
            return {"gpus": gpus, "parsed": found}

        monkeypatch.setattr(module, "parse", parse)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return say


def test_what_a_spec_leaves_open_is_settled_by_the_machine(parsed, monkeypatch):
    parsed()
    found, machine = check(spec(**OPEN | {"workers": 4}))
    assert (found.workers, found.threads, found.gpus, found.at_once, found.startup) == (4, 2, 0, 4, 1)
    parsed(gpus=4, use_cpu=False)
    found, machine = check(spec(**OPEN))
    assert (found.workers, found.threads, found.gpus, found.at_once) == (4, 2, 1, 4)
    assert machine.gpus == ("0", "1", "2", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    parsed(gpus=2, use_cpu=False)
    found, machine = check(spec(**OPEN | {"gpus": 2}))
    assert (found.workers, machine.gpus) == (1, ("5", "7"))


@pytest.mark.parametrize(
    ("found", "values", "message"),
    [
        ({"problems": 1}, {"temperatures": (0.0, 1.0)}, "validation_problems is 1, and each half of them chooses"),
        ({"problems": 0}, {}, "validation_problems is 0, and accuracy is measured on them"),
        ({"max_steps": -1}, {}, "max_steps is -1; a sweep's trials need their number of steps"),
        ({"eval_steps": 3}, {}, "eval_steps 3 it is not evaluated there"),
        ({"strategy": "no"}, {}, "eval_strategy no and"),
        ({}, {"metric": "accuracy/gsm8k"}, "metric is accuracy/gsm8k, but the tasks are: countdown"),
        ({"only": 1e-3, "validation": "other"}, {}, "learning_rate 0.001 has other validation problems"),
        ({"only": 1e-3, "error": "no"}, {}, "The setting learning_rate 0.001 is refused: no"),
        ({"error": "no"}, {}, "no"),
        ({}, {"gpus": 1}, "gpus is 1, but this machine has 0"),
        ({"gpus": 2}, {"gpus": 1}, "gpus is 1, but the config has use_cpu"),
        ({"gpus": 2, "use_cpu": False}, {"gpus": 1, "workers": 3}, "3 workers with 1 GPUs each need 3"),
    ],
)
def test_what_cannot_be_compared_or_run_is_refused(parsed, found, values, message):
    parsed(**found)
    with pytest.raises(ValueError) as caught:
        check(spec(**OPEN | values))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_every_trial_is_looked_at_and_of_tpe_every_choice():
    assert [params["learning_rate"] for params in ahead(spec())] == [1e-4, 1e-3, 1e-2]
    search = {"learning_rate": {"low": 1e-4, "high": 1e-2}, "num_generations": [2, 4, 8, 16]}
    looked_at = ahead(spec(search=search, method="tpe", trials=20, startup=3))
    assert {params["num_generations"] for params in looked_at} == {2, 4, 8, 16}
    assert {1e-4, 1e-2} <= {params["learning_rate"] for params in looked_at}
    assert len(ahead(spec(search=search, method="random", trials=20))) == 20


def test_train_itself_reads_the_configs(tmp_path):
    """One process for several answers, since it takes seconds to start."""
    configs = [TINY, TINY | {"num_generations": 3}, TINY | {"learning_rat": 1.0}, TINY | {"validation_problems": 10**6}]
    right, group, unknown, many = module.parse(configs)["parsed"]
    assert (right["error"], right["problems"], right["max_steps"], right["tasks"]) == ("", 8, 4, ["countdown"])
    assert "num_generations" in group["error"] or "divisible" in group["error"]
    assert "learning_rat" in unknown["error"]
    assert "distinct validation problems" in many["error"]


def test_a_value_out_of_range_is_refused_before_torch_is_asked(monkeypatch):
    monkeypatch.setattr(module, "parse", lambda configs: pytest.fail("torch was asked"))
    with pytest.raises(ValueError, match="The setting learning_rate -1 is refused: learning_rate is -1; expected a"):
        check(spec(search={"learning_rate": [1e-4, -1]}))


def test_the_process_of_a_sweep_never_imports_torch():
    """So it holds no memory of any GPU."""
    imports = "import sys; import eval.sweep.trials.run_sweep, train.lifecycle.signals"
    code = f"{imports}; print([m for m in ('torch', 'trl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_settings_that_come_to_the_same_run_are_refused(parsed):
    parsed(resolved="the same")
    with pytest.raises(ValueError, match="come to the same run; leave one out"):
        check(spec(**OPEN))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search": {"learning_rate": {"low": 0.0, "high": 1.0, "step": 1e-9}}}, "a grid tries 2,000 at most"),
        ({"search": {"warmup_steps": {"low": 0, "high": 10**12}}}, "a grid tries 2,000 at most"),
        ({"search": {"learning_rate": {"low": 0.0, "high": 1.0, "points": 10**9}}}, "expected a whole number, 2 to"),
        ({"method": "random", "search": {"beta": {"low": 0.0, "high": 1.0}}, "trials": 10**9}, "expected at most"),
        ({"search": {"beta": {"low": 0.0, "high": 10**400}}}, "search.beta.high is 1000"),
        ({"search": {"a": list(range(50)), "b": list(range(50))}}, "The sweep has 2,500 trials; expected at most"),
        ({"seeds": (-1,)}, "seeds has -1; expected numbers of 0 to 4,294,967,295"),
        ({"seeds": (0, 2**32)}, "seeds has 4294967296; expected numbers"),
        ({"name": "*"}, "name is '\\*'; expected a folder name"),
    ],
)
def test_a_sweep_without_end_is_refused_at_once(values, message):
    with pytest.raises(ValueError, match=message):
        Spec(**{"name": "small", "config": "base.yaml", "search": {"a": [1]}} | values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("--learning_rate", "1e-4"), ("--learning_rate", "0.0001")),
        (("--scale_rewards", "none"), ("--scale_rewards", "false")),
        (("--rewards", "correct"), ("--rewards", '{"correct": 1}')),
        (("--rewards", "correct,format"), ("--rewards", '{"format": 1.0, "correct": 1}')),
        (("--tasks", '{"countdown": {}}'), ("--tasks", '{"countdown": {"weight": 1, "numbers": 3}}')),
        (("--scratch", '{"hidden_size": 128}'), ()),
        (("--lora_alpha", "64"), ()),
        (("--oversample", "3"), ()),
        (("--cold_start_learning_rate", "0.1"), ()),
    ],
)
def test_ways_to_write_one_run_are_one_run(one, other):
    common = ["--name", "x", "--use_cpu", "true", "--tasks", '{"countdown": {}}']
    runs = [identity(*parse_config([*common[: None if "--tasks" not in way else -2], *way])) for way in (one, other)]
    assert json.dumps(runs[0], sort_keys=True, default=str) == json.dumps(runs[1], sort_keys=True, default=str)
    different = identity(*parse_config([*common, "--learning_rate", "0.5"]))
    assert json.dumps(runs[0], sort_keys=True, default=str) != json.dumps(different, sort_keys=True, default=str)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("temperature: 1", "temperature: 1.0e0", True),
        ("temperature: 1", "temperature: 0.9", False),
        ("min_p: null", "min_p: 0", True),
        ("epsilon_high: null", "epsilon_high: 0.2", True),
        ("save_at: [1, 2]", "save_at: [2, 1, 1]", True),
        ("steps_per_generation: 2", "steps_per_generation: 4", False),
        ("steps_per_generation: 1", "steps_per_generation: null", True),
    ],
)
def test_a_run_has_one_identity_however_its_settings_are_written(tmp_path, one, other, same):
    identities = []
    for line in (one, other):
        path = tmp_path / "config.yaml"
        batch = "num_generations: 2\nper_device_train_batch_size: 2\nuse_cpu: true\n"
        path.write_text(f"name: x\ntasks: {{arithmetic: {{}}}}\n{batch}{line}\n")
        identities.append(json.dumps(identity(*parse_config(["--config", str(path)])), sort_keys=True, default=str))
    assert (identities[0] == identities[1]) == same
