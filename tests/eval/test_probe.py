import json

import pytest
import yaml

from eval import probe as probes
from eval.probe import STAGES, Settings, probe
from eval.probe_table import STAGES as SHOWN
from eval.probe_table import render
from eval.source import read_source
from train.rollout.engine import RolloutEngine

SETTINGS = Settings(problems=4, samples=2, max_new_tokens=12)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"tasks": {"countdown": {}, "arithmetic": {}}}))
    return read_source(path)


def test_probes_are_written_and_read_again_without_sampling(tmp_path, checkpoint, source, monkeypatch):
    results = probe([str(checkpoint)] * 2, source, SETTINGS, tmp_path / "out")
    written = (tmp_path / "out" / "probes.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(results))
    assert set(STAGES) <= set(results["checkpoints"][0])
    assert results["pairs"][0]["behaviour"]["measures"]["accuracy"]["value"] == 0
    assert max(map(len, render(results).splitlines())) <= 100

    def refuse(*_, **__):
        raise AssertionError("sampled again")

    monkeypatch.setattr(RolloutEngine, "generate", refuse)
    probe([str(checkpoint)] * 2, source, SETTINGS, tmp_path / "out")
    assert (tmp_path / "out" / "probes.json").read_text() == written


def test_a_run_that_was_cut_off_goes_on_with_the_stage_it_was_in(tmp_path, checkpoint, source, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    stages = dict(STAGES)
    monkeypatch.setitem(probes.STAGES, "second_turn", (cut_off, stages["second_turn"][1]))
    with pytest.raises(KeyboardInterrupt):
        probe([str(checkpoint)], source, SETTINGS, tmp_path)
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "probes").glob("*.parquet")}
    assert "0-behaviour.parquet" in done and "0-second_turn.parquet" not in done
    monkeypatch.setitem(probes.STAGES, "second_turn", stages["second_turn"])
    probe([str(checkpoint)], source, SETTINGS, tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "probes").glob("*.parquet")}
    assert done.items() <= after.items() and "0-second_turn.parquet" in after


def test_probes_of_other_settings_are_refused_unless_overwritten(tmp_path, checkpoint, source):
    probe([str(checkpoint)], source, SETTINGS, tmp_path)
    other = Settings(problems=4, samples=1, max_new_tokens=12)
    with pytest.raises(ValueError, match="--overwrite"):
        probe([str(checkpoint)], source, other, tmp_path)
    assert probe([str(checkpoint)], source, other, tmp_path, overwrite=True)["settings"]["samples"] == 1


def test_a_damaged_stage_is_named(tmp_path, checkpoint, source):
    probe([str(checkpoint)], source, SETTINGS, tmp_path)
    (tmp_path / "probes" / "0-injection.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"0-injection\.parquet cannot be read"):
        probe([str(checkpoint)], source, SETTINGS, tmp_path)


def test_every_measure_shown_is_one_that_is_made():
    for stage, (_, shown) in SHOWN.items():
        assert set(shown) <= set(STAGES[stage][1]), stage


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="temperature is 0"):
        Settings(temperature=0)
    with pytest.raises(ValueError, match="1 problems"):
        Settings(problems=1)
