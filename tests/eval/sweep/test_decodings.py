"""A sweep that judges its trials at their best decoding, where a run that only sharpens the model does not win."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from stubbed import BASE, do, in_process, spec

from eval.measures import estimators
from eval.sweep.ranking.measure import DECODINGS, at_best_decoding, estimate
from eval.sweep.trials import work
from eval.sweep.trials.decodings import SAMPLES, sample_run
from train.files.checkpoints import seal

PROBLEMS = 40


def leave(run, right):
    """The samples of a run that answers so many of the PROBLEMS at each temperature, one sample each."""
    rows = [
        {
            "problem": f"p{i:02d}",
            "task": "countdown" if i % 4 else "arithmetic",
            "temperature": temperature,
            "correct": i < count,
            "thinking_tokens": i,
        }
        for temperature, count in right.items()
        for i in range(PROBLEMS)
    ]
    (run / DECODINGS).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), run / DECODINGS)


def test_the_temperature_is_chosen_on_the_other_half_of_the_problems(tmp_path):
    leave(tmp_path, {0.0: 20, 1.0: 10})
    assert estimate(at_best_decoding(tmp_path, "accuracy")).value == 0.5
    rows = pq.read_table(tmp_path / DECODINGS).to_pylist()
    for row in rows:  # greedy solves the even problems alone, temperature 1 the odd ones alone
        row["correct"] = (int(row["problem"][1:]) % 2 == 0) == (row["temperature"] == 0)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / DECODINGS)
    assert estimate(at_best_decoding(tmp_path, "accuracy")).value == 0  # a choice on the same problems would say 1


def test_a_tasks_own_measure_is_of_its_problems_alone(tmp_path):
    leave(tmp_path, {0.0: 20, 1.0: 10})
    sums = at_best_decoding(tmp_path, "accuracy/arithmetic")
    assert len(sums) == PROBLEMS / 4 and estimate(sums).value == 0.5


def test_a_run_without_such_samples_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"decodings.parquet cannot be read"):
        at_best_decoding(tmp_path, "accuracy")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(work, "IDLE", 0.01)
    monkeypatch.setattr(estimators, "RESAMPLES", 50)
    monkeypatch.setattr("eval.sweep.trials.run_sweep.write_page", lambda results: None)


def test_a_trial_that_is_better_at_training_s_temperature_alone_does_not_win(tmp_path, monkeypatch, quick):
    best = {"000": 30, "001": 20, "002": 10}  # at training's own temperature the second is first

    def launch(words, run, slot, stop):
        if "eval.sweep.trials.decodings" not in words:
            return in_process(words, run, slot, stop)
        assert words[-3:] == [str(run.folder), "0.0", "1.0"]
        leave(run.folder, {0.0: best[run.folder.parent.name], 1.0: 0})
        return 0, ""

    monkeypatch.setattr(work, "launch", launch)
    results = do(tmp_path, spec(temperatures=(0.0, 1.0)))
    assert [entry.number for entry in results.ranked] == [0, 1, 2]
    assert [entry.estimate.value for entry in results.ranked] == [0.75, 0.5, 0.25]
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["temperatures"] == [0, 1] and "accuracy at best decoding 75.0%" in content["verdict"]


def test_sampling_that_fails_is_the_run_s_failure(tmp_path, monkeypatch, quick):
    def launch(words, run, slot, stop):
        sampling = "eval.sweep.trials.decodings" in words
        return (1, "error: no such model\n") if sampling else in_process(words, run, slot, stop)

    monkeypatch.setattr(work, "launch", launch)
    one = {"search": {"learning_rate": [1e-3]}, "workers": 1, "seeds": (0,), "retries": 0}
    results = do(tmp_path, spec(temperatures=(0.0, 1.0), **one))
    assert not results.ranked and results.others[0].status == "failed: exit code 1 (seed 0)"


def test_a_run_is_sampled_at_each_temperature(tmp_path, tiny_model, tokenizer):
    run = tmp_path / "run"
    config = BASE | {
        "model": "scratch",
        "tasks": {"countdown": {}, "arithmetic": {}},
        "max_completion_length": 8,
        "validation_problems": 4,
    }
    path = run / "checkpoints" / "checkpoint-1"
    tiny_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    seal(path)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    sample_run(run, [0.0, 0.6])
    rows = pq.read_table(run / DECODINGS).to_pylist()
    problems = {row["problem"] for row in rows}
    count = {t: sum(row["temperature"] == t for row in rows) for t in (0.0, 0.6)}
    assert len(problems) == 4 and count == {0.0: 4, 0.6: 4 * SAMPLES} and len(rows) == 20
    assert set(at_best_decoding(run, "accuracy")) == problems
