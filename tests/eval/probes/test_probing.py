import json

import pytest
import yaml

from eval.probes import probing as probes
from eval.probes.probe_table import SECTIONS, render
from eval.probes.probing import STAGES, expected, probe
from eval.sampling.source import read_source
from eval.settings import ProbeSettings as Settings
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

    monkeypatch.setattr("eval.sampling.candidate._engine", lambda model: refuse)
    probe([str(checkpoint)] * 2, source, SETTINGS, tmp_path / "out")
    assert (tmp_path / "out" / "probes.json").read_text() == written


@pytest.fixture
def drawn(monkeypatch):
    """How many completions each call of the engine drew."""
    counts = []
    generate = RolloutEngine.generate

    def counting(self, prompts, *arguments, **named):
        counts.append(len(prompts))
        return generate(self, prompts, *arguments, **named)

    monkeypatch.setattr(RolloutEngine, "generate", counting)
    return counts


def test_a_run_that_was_cut_off_samples_only_the_rest(tmp_path, checkpoint, source, monkeypatch, drawn):
    whole = probe([str(checkpoint)], source, SETTINGS, tmp_path / "whole")
    total = sum(drawn)
    stage = STAGES["second_turn"]

    def cut_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(probes.STAGES, "second_turn", (cut_off, *stage[1:]))
    with pytest.raises(KeyboardInterrupt):
        probe([str(checkpoint)], source, SETTINGS, tmp_path / "cut")
    monkeypatch.setitem(probes.STAGES, "second_turn", stage)
    drawn.clear()
    assert probe([str(checkpoint)], source, SETTINGS, tmp_path / "cut") == whole
    assert sum(drawn) == total - 4 * SETTINGS.samples


def test_the_progress_comes_to_what_was_expected(tmp_path, checkpoint, source):
    counted = []
    probe([str(checkpoint)], source, SETTINGS, tmp_path, progress=counted.append)
    assert sum(counted) == expected(source, SETTINGS, 1)


def test_probes_of_other_settings_share_their_samples(tmp_path, checkpoint, source, monkeypatch):
    probe([str(checkpoint)], source, SETTINGS, tmp_path)
    monkeypatch.setattr("eval.sampling.candidate._engine", lambda model: None)
    fewer = Settings(problems=4, samples=1, max_new_tokens=12)
    assert probe([str(checkpoint)], source, fewer, tmp_path)["settings"]["samples"] == 1


def test_every_measure_shown_is_one_that_is_made():
    for stage, title, shown in SECTIONS:
        assert set(shown) <= set(STAGES[stage][1]), title


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="temperature is -1"):
        Settings(temperature=-1)
    with pytest.raises(ValueError, match="problems is 1; expected a whole number, 2 to"):
        Settings(problems=1)
