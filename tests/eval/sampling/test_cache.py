import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model

from eval.sampling.cache import SampleCache, fingerprint
from eval.sampling.candidate import load_candidate
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Rollout, Sampling

PROMPTS = [[9, 12, 11], [9, 14], [9, 12, 11]]
SAMPLING = Sampling(6, (2,), seed=3)


def remembered(draw, folder):
    return SampleCache(draw, folder, "w")


def counting(drawn):
    """Draws a completion that says which prompt and sample it is of, and writes down that it did."""

    def draw(prompts, numbers, sampling, finished):
        for place, (prompt, number) in enumerate(zip(prompts, numbers, strict=True)):
            drawn.append((tuple(prompt), number))
            finished(place, Rollout([len(prompt), number, 2], "stop"))

    return draw


def test_no_sample_is_drawn_twice(tmp_path):
    drawn = []
    first = remembered(counting(drawn), tmp_path).generate(PROMPTS[:2], 2, SAMPLING)
    assert [rollout.token_ids for rollout in first] == [[3, 0, 2], [3, 1, 2], [2, 0, 2], [2, 1, 2]]
    again = remembered(counting(drawn), tmp_path).generate(PROMPTS[:2], 3, SAMPLING)
    assert [rollout.token_ids[1] for rollout in again] == [0, 1, 2, 0, 1, 2]
    assert sorted(drawn) == sorted({(tuple(prompt), number) for prompt in PROMPTS for number in range(3)})


def test_other_weights_seeds_and_budgets_are_other_samples(tmp_path):
    drawn = []
    for weights, sampling in [
        ("a", SAMPLING),
        ("b", SAMPLING),
        ("a", Sampling(6, (2,), seed=4)),
        ("a", Sampling(7, (2,))),
    ]:
        SampleCache(counting(drawn), tmp_path, weights).generate([[9]], 1, sampling)
    assert len(drawn) == 4


def test_what_was_drawn_before_an_interruption_is_kept(tmp_path):
    drawn = []

    def dying(prompts, numbers, sampling, finished):
        counting(drawn)(prompts[:3], numbers[:3], sampling, finished)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remembered(dying, tmp_path).generate(PROMPTS[:2], 2, SAMPLING)
    reported = []
    remembered(counting(drawn), tmp_path).generate(PROMPTS[:2], 2, SAMPLING, reported.append)
    assert len(drawn) == 4
    assert reported == [3, 1]


def test_the_parts_of_a_long_evaluation_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.sampling.cache.SECONDS", 0.0)
    remembered(counting([]), tmp_path).generate([[9]], 5, SAMPLING)
    (part,) = tmp_path.iterdir()
    assert pq.read_table(part).num_rows == 5


def test_a_part_that_cannot_be_read_is_named_and_the_others_stay(tmp_path):
    remembered(counting([]), tmp_path).generate([[9]], 1, SAMPLING)
    remembered(counting([]), tmp_path).generate([[8]], 1, SAMPLING)
    parts = sorted(tmp_path.iterdir())
    parts[0].write_bytes(b"PAR1 cut short")
    with pytest.raises(ValueError, match=f"{parts[0].name} cannot be read"):
        remembered(counting([]), tmp_path).generate([[9]], 1, SAMPLING)
    assert pq.read_table(parts[1]).num_rows == 1


def test_a_part_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    remembered(counting([]), tmp_path).generate([[9]], 1, SAMPLING)
    monkeypatch.setattr("train.files.untrusted.MAX_PARQUET_BYTES", 10)
    with pytest.raises(ValueError, match="more than is read of one file"):
        remembered(counting([]), tmp_path).generate([[9]], 1, SAMPLING)


def test_the_samples_are_those_of_the_engine_however_they_come_together(tmp_path, checkpoint, tiny_model):
    expected = [rollout.token_ids for rollout in RolloutEngine(tiny_model).generate(PROMPTS, 3, SAMPLING)]
    load_candidate(str(checkpoint), tmp_path / "cache").backend.generate(PROMPTS[1:], 2, SAMPLING)
    resumed = load_candidate(str(checkpoint), tmp_path / "cache").backend.generate(PROMPTS, 3, SAMPLING)
    assert [rollout.token_ids for rollout in resumed] == expected


def test_weights_are_told_apart_by_what_they_compute(tiny_model, checkpoint, tmp_path):
    before = fingerprint(tiny_model)
    assert load_candidate(str(checkpoint), tmp_path).backend.weights == before  # saved and loaded, from whatever path
    adapted = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert fingerprint(adapted) != before
    with torch.no_grad():
        next(tiny_model.parameters())[0, 0] += 1e-3
    assert fingerprint(tiny_model) != before


def test_generate_gives_other_samples_when_it_goes_on(tmp_path, checkpoint):
    candidate = load_candidate(str(checkpoint), tmp_path, backend="generate")
    few = [rollout.token_ids for rollout in candidate.backend.generate([[9, 12]], 2, SAMPLING)]
    more = [rollout.token_ids for rollout in candidate.backend.generate([[9, 12]], 4, SAMPLING)]
    assert more[:2] == few
    assert more[2:] != few
