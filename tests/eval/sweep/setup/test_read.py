"""A sweep's YAML file, and what is refused of it."""

from pathlib import Path

import pytest
import yaml
from stubbed import spec

from eval.sweep.setup.read import changed, read_spec

SWEEPS = sorted((Path(__file__).parents[4] / "configs" / "sweeps").glob("*.yaml"))
GOOD = {"config": "base.yaml", "search": {"learning_rate": [0.1, 0.2]}}


def write(folder: Path, **values) -> Path:
    (folder / "base.yaml").write_text("max_steps: 4\ntasks: {countdown: {}}\n")
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"config": str(folder / "base.yaml")} | values))
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_sweeps_that_are_shipped_can_be_read_and_begin_with_their_command(path, monkeypatch):
    monkeypatch.chdir(path.parents[2])
    found = read_spec(path)
    assert found.name == path.stem and found.count * len(found.seeds) > 1
    assert f"#     python scripts/sweep.py configs/sweeps/{path.name}" in path.read_text()


def test_what_is_not_said_has_a_default(tmp_path):
    found = read_spec(write(tmp_path))
    assert (found.name, found.method, found.count, found.seeds, found.metric) == (
        "mine",
        "grid",
        2,
        (0, 1, 2),
        "accuracy",
    )
    assert found.base == {"max_steps": 4, "tasks": {"countdown": {}}}
    assert read_spec(write(tmp_path, seeds=2)).seeds == (0, 1)


def test_the_spec_that_a_folder_keeps_is_the_same(tmp_path):
    values = {
        "temperatures": [0, 0.6],
        "method": "tpe",
        "trials": 2,
        "prune": {"after": 2},
        "seeds": [3, 1],
        "launch": ["--debug"],
    }
    found = read_spec(write(tmp_path, **values))
    (tmp_path / "sweep.yaml").write_text(found.to_yaml())
    (tmp_path / "base.yaml").unlink()  # its content is kept
    assert read_spec(tmp_path) == found and not changed(found, read_spec(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, "has an unknown field learning_rate; expected some of: name, config, search"),
        ({"search": None}, "has no search: Mapping of field to choices"),
        ({"method": "bayes"}, "method is 'bayes'; expected one of: grid, random, tpe"),
        ({"direction": "up"}, "direction is 'up'; expected one of: maximize, minimize"),
        ({"metric": "reward"}, "metric is 'reward'; expected one of accuracy, format"),
        ({"temperatures": 0.6}, "temperatures is 0.6; expected a list of numbers"),
        ({"temperatures": ["low"]}, "temperatures is ['low']; expected a list of numbers"),
        ({"temperatures": [0, -0.5]}, "temperatures has -0.5; expected different ones, each 0 for greedy"),
        ({"temperatures": [0.3, 0.3]}, "temperatures has 0.3; expected different ones"),
        ({"seeds": 0}, "seeds is 0; expected how many, or a list"),
        ({"seeds": [1, 1]}, "seeds is [1, 1]; expected different whole numbers"),
        ({"trials": 3}, "trials is 3, but the grid has 2 settings; leave trials out"),
        ({"trials": 3, "method": "tpe"}, "trials is 3, but there are only 2 settings; use method: grid"),
        ({"retries": -1}, "retries is -1; expected a whole number, 0 or more"),
        ({"workers": 1.5}, "workers is 1.5; expected a whole number, 1 or more"),
        ({"prune": "median"}, "prune is 'median'; expected a mapping"),
        (
            {"prune": {}, "temperatures": [0, 1], "search": {"temperature": [0.6, 1]}},
            "search.temperature and prune: runs",
        ),
        ({"prune": {"method": "hyperband"}}, "prune.method is 'hyperband'; expected one of: median, asha"),
        ({"prune": {"seeds": 4}}, "prune.seeds is 4, but there are only 3 seeds"),
        ({"keep": "all"}, "keep is 'all'"),
        ({"name": "a/b"}, "name is 'a/b'; expected a folder name"),
        ({"launch": "--debug"}, "launch is '--debug'; expected a list of arguments"),
        ({"search": {"seed": [1, 2]}}, "seed is given by the sweep to each run; use seeds"),
        ({"set": {"name": "x"}}, "name is given by the sweep to each run"),
        ({"search": {"validation_problems": [8, 16]}}, "would change what is measured, not what is learnt"),
        ({"set": {"learning_rate": 1}}, "set.learning_rate and search.learning_rate are the same place"),
        ({"set": {"a.b": 1}, "search": {"a": [{}, None]}}, "set.a.b and search.a are the same place"),
        ({"set": {"a": {"b": 1}}, "search": {"a.b": [1, 2]}}, "set.a and search.a.b are the same place"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml cannot be read: No such file"),
        ({"config": 5}, "config must be a path"),
        ({"base": [1]}, "config must be a path, and set and base mappings"),
        ({"seeds": [[1]]}, "seeds is [[1]]; expected different whole numbers"),
        ({"launch": [None]}, "launch is [None]; expected a list of arguments"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, values, message):
    with pytest.raises(ValueError) as caught:
        read_spec(write(tmp_path, **values))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_none_or_no_yaml_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_spec(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="is not valid YAML"):
        read_spec(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="expected a mapping of fields"):
        read_spec(tmp_path / "bad.yaml")


def test_what_may_not_change_while_a_sweep_goes_on_is_named():
    before = spec(method="random", trials=2)
    assert changed(before, spec(method="random", trials=3, workers=5, retries=4, threads=None, at_once=None)) == []
    assert changed(before, spec(method="random", trials=2, seeds=(0, 1, 2))) == ["seeds was (0, 1) and is (0, 1, 2)"]
    assert changed(before, spec(method="tpe", trials=2)) == ["method was 'random' and is 'tpe'"]
