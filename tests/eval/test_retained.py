"""What other tasks a run's model is asked, and that what came of it is said with its interval."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

from eval.claims.judging import _retained_words
from eval.retained import OF_SCRATCH, OF_WORDS, folder_of, other_source, other_tasks
from scripts.retained import tasks_of

OWN = (Path(__file__).parents[1] / "support" / "own_task.py").read_text()


def test_a_model_of_words_is_asked_families_that_it_was_not_trained_on():
    asked = other_tasks({"model": "smollm2-135m", "tasks": {"gym:chain_sum": {}, "countdown": {}}})
    assert set(asked) == set(OF_WORDS) - {"gym:chain_sum"}


def test_a_model_from_scratch_is_asked_its_own_words_in_other_measure(tmp_path):
    config = {"model": "scratch", "tasks": {"countdown": {"numbers": 3}}}
    assert other_tasks(config) == {"countdown": OF_SCRATCH["countdown"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert [part.settings.numbers for part in other_source(tmp_path).parts] == [2]
    given = other_source(tmp_path, {"arithmetic": {"digits": 2}})
    assert [part.task for part in given.parts] == ["arithmetic"]


def test_a_run_on_tasks_of_ones_own_is_asked_others_only_where_its_code_may_run(tmp_path):
    (tmp_path / "primes.py").write_text(OWN)
    config = {"model": "smollm2-135m", "tasks": {str(tmp_path / "primes.py"): {}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="give --own-tasks if you trust it"):
        other_source(tmp_path, {"countdown": {}})
    assert [part.task for part in other_source(tmp_path, {"countdown": {}}, own_tasks=True).parts] == ["countdown"]


@pytest.mark.parametrize("text", ["countdown", "[1]", "{}", "{", "null"])
def test_tasks_that_are_no_mapping_are_refused_with_an_example(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a JSON object of tasks, such as"):
        tasks_of(text)
    assert tasks_of('{"countdown": {}}') == {"countdown": {}}


def test_where_no_other_task_is_left_that_is_said():
    with pytest.raises(ValueError, match="give some: --tasks"):
        other_tasks({"model": "scratch", "tasks": {"my.task": {}}})


def test_the_change_stands_below_the_verdicts(tmp_path):
    def best(value):
        return {"best": {"measures": {"accuracy": {"value": value, "low": value - 0.05, "high": value + 0.05}}}}

    folder_of(tmp_path).mkdir(parents=True)
    results = {"checkpoints": [best(0.5) | {"tasks": {"gym:x": {}}}, best(0.4)], "pairs": [best(-0.1)]}
    (folder_of(tmp_path) / "results.json").write_text(json.dumps(results))
    (words,) = _retained_words([tmp_path])
    assert "on other tasks (gym:x) accuracy was 50.0% and is 40.0%: -10.0 points [-15.0, -5.0]" in words
    assert not list(_retained_words([tmp_path / "nothing"]))
