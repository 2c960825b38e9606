"""The evaluation script as a user calls it."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml
from resuming import die, in_child

from eval.sampling.cache import SampleCache
from train.files.checkpoints import seal
from train.publishing.published import publishable

FEW = ("--problems", 2, "--validation-problems", 2, "--processes", 1)  # drawing many shows a bar on a busy machine


@pytest.fixture
def evaluate(script):
    return lambda *arguments: script("evaluate", *arguments)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"tasks": {"countdown": {}}, "max_completion_length": 8}))
    return path


def test_the_script_evaluates_a_checkpoint_and_prints_a_table(tmp_path, checkpoint, config, evaluate):
    few = ("--problems", 3, "--samples", 2, "--temperatures", 0, 1, "--validation-problems", 2, "--processes", 1)
    done = evaluate("--checkpoint", checkpoint, "--config", config, *few, "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout and "thinking tokens" in done.stdout
    assert json.loads((tmp_path / "o" / "results.json").read_text())["settings"]["problems"] == 3


def test_problems_that_are_passed_over_are_not_asked(tmp_path, checkpoint, config, evaluate):
    few = ("--samples", 1, "--temperatures", 1, "--processes", 1)
    asked = {}
    for name, options in (("first", ("--problems", 6)), ("others", ("--problems", 4, "--skip", 6))):
        done = evaluate("--checkpoint", checkpoint, "--config", config, *few, *options, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        asked[name] = set(pq.read_table(tmp_path / name / "samples-0.parquet")["prompt"].to_pylist())
    assert len(asked["first"]) == 6 and len(asked["others"]) == 4 and not asked["first"] & asked["others"]
    done = evaluate("--checkpoint", checkpoint, "--config", config, *few, "--skip", 400, "--output", tmp_path / "o")
    assert done.returncode == 2 and "\nerror: " in "\n" + done.stderr.replace("\r", "\n")
    assert "--skip 400 leaves none of it" in done.stderr and not (tmp_path / "o").exists()


def test_other_problems_leave_the_results_of_the_first_and_the_published_card(tmp_path, checkpoint, config, evaluate):
    run = tmp_path / "run"
    trained = run / "checkpoints" / "checkpoint-1"
    shutil.copytree(checkpoint, trained)
    seal(trained)
    (run / "config.yaml").write_text(f"name: run\nmethod: grpo\nmodel: {checkpoint}\n{config.read_text()}")
    machine = {"seed": 0, "packages": {}, "processor": "a processor", "cores": 2, "gpus": [], "git_commit": None}
    (run / "environment.json").write_text(json.dumps(machine | {"command": ["train"]}))
    (run / "metrics.jsonl").write_text("")
    publishable(run)
    few = ("--run", run, "--problems", 3, "--samples", 1, "--temperatures", 1, "--processes", 1)
    done = evaluate(*few)
    assert done.returncode == 0, done.stderr
    kept = {path: path.read_bytes() for path in (run / "evaluation" / "results.json", run / "model" / "README.md")}
    others = run / "evaluation" / "skip-6"
    for options, folder in (((), others), (("--baseline", "majority"), others / "majority")):
        done = evaluate(*few, "--skip", 6, *options)
        assert done.returncode == 0, done.stderr
        assert "\n3 held-out problems after the first 6 (test split)" in "\n" + done.stdout
        assert json.loads((folder / "results.json").read_text())["settings"]["skip"] == 6
        assert {path: path.read_bytes() for path in kept} == kept
    assert [path.parent.name for path in (run / "evaluation").rglob("cache")] == ["evaluation"]
    done = evaluate(*few, "--skip", 6, "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o" / "results.json").is_file() and (tmp_path / "o" / "cache").is_dir()


def test_a_checkpoint_without_tokenizer_is_one_clear_line(tmp_path, checkpoint, config, evaluate):
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    done = evaluate("--checkpoint", checkpoint, "--config", config, *FEW, "--output", tmp_path / "o")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "tokenizer" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_folder_that_is_no_checkpoint_is_one_clear_line(tmp_path, config, evaluate):
    (tmp_path / "junk").mkdir()
    done = evaluate("--checkpoint", tmp_path / "junk", "--config", config, *FEW)
    assert done.returncode == 2
    assert "is not a checkpoint" in done.stderr and done.stderr.count("\n") == 1


def test_a_checkpoint_in_no_run_needs_a_config(checkpoint, evaluate):
    done = evaluate("--checkpoint", checkpoint)
    assert done.returncode == 2
    assert "--config" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--benchmark-file", "gsm8k=x.jsonl"), "--benchmark-file is given without --benchmark"),
        (("--benchmark", ""), "There is no benchmark ''"),
        (("--benchmark", "gsm8k", "--skip", "400"), "--skip 400 passes over a run's problems"),
    ],
)
def test_a_benchmark_that_is_not_named_is_not_passed_over(options, said, evaluate):
    done = evaluate("--checkpoint", "nowhere", *options)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_an_evaluation_that_was_killed_goes_on_where_it_was(tmp_path, checkpoint, config, evaluate, monkeypatch):
    arguments = ("--checkpoint", checkpoint, "--config", config, "--problems", 4, "--samples", 2, "--processes", 1)
    arguments += ("--temperatures", 1, "--output", tmp_path / "o")
    written, write = [], SampleCache._write

    def write_and_die(self, rows):
        written.append(write(self, rows))
        if len(written) == 3:
            die()
        return written[-1]

    with monkeypatch.context() as patched:
        patched.setattr("eval.sampling.cache.SECONDS", 0.0)
        patched.setattr(SampleCache, "_write", write_and_die)
        assert in_child(lambda: evaluate(*arguments).returncode) == -9
    kept = pq.read_table(tmp_path / "o" / "cache").to_pylist()
    assert 0 < len(kept) < 12 and not (tmp_path / "o" / "results.json").exists()
    done = evaluate(*arguments)
    assert done.returncode == 0, done.stderr
    after = [row["key"] for row in pq.read_table(tmp_path / "o" / "cache").to_pylist()]
    assert len(after) == len(set(after)) == 4 * (2 + 1)  # none was drawn twice, and none is lost
    assert {row["key"] for row in kept} < set(after)
