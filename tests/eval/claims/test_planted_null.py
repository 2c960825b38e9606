"""A planted null: the start with its logits multiplied, a temperature baked into its weights, is offered as "after RL".

At temperature 1 it gains much, and it has learnt nothing. It must not be supported; a model that is ten points better
at its best decoding must be. The other way round, a start whose logits were multiplied is at its best above every
temperature of the grid, and a plain model after it has learnt nothing either.

`sharpened.json` holds real samples: of a small cold-started model, and of the same with its logits trebled, the right
ones of 6 of each problem (1 where greedy) at every temperature of the grid, for 120 test problems and 60 validation
problems.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from eval.claims.judging import judge_claims
from eval.measures import estimators
from eval.measures.estimators import paired_difference, ratio
from eval.measures.sample_measures import as_json
from eval.sampling.decodings import fall_at_hottest
from eval.settings import TEMPERATURES

TRIALS, ENOUGH = 100, 95
PROBLEMS, CHOICE, SAMPLES = 400, 200, 4  # as many as scripts/claims.py takes
HOTTER = (*TEMPERATURES, 1.5, 2.0, 3.0)
REAL = Path(__file__).with_name("sharpened.json")
Rates = dict[float, np.ndarray]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    """A thousand are enough for a verdict."""
    monkeypatch.setattr(estimators, "RESAMPLES", 1_000)


def judged(folder, tables, choices):
    """Claim 1 on a start and a model after it: each (right samples, samples) by temperature, the best one chosen.

    Three verdicts: the claim's, what it would be if nobody asked for hotter temperatures, and that at temperature 1.
    """
    best, hottest = [], {}
    for table, choice in zip(tables, choices, strict=True):
        chosen = max(sorted(choice), key=lambda t: choice[t][0].sum() / choice[t][1].sum())
        best.append(table[chosen])
        found = {
            "temperatures": sorted(choice),
            "best": chosen,
            "upper_bound": max(ratio(*sums).high for sums in table.values()),
            **as_json({"fall": fall_at_hottest(table, choice)}),
        }
        hottest["trained" if hottest else "start"] = found
    evidence = {**changes([table[1.0] for table in tables]), "best": changes(best), "hottest": hottest}
    evidence["greedy"] = {"difference": evidence["difference"]}
    (folder / "evaluation" / "train-curve.json").write_text(json.dumps(evidence))
    claim = judge_claims([folder])["claims"][0]
    of_figures = {figure["verdict"] for figure in claim["figures"]}
    before = "supported" if of_figures == {"supported"} else "no"
    return claim["verdict"], before, claim["beside"][0]["verdict"]


def changes(points):
    """The figures of the curve of two checkpoints: the rise of two points is their difference."""
    difference = as_json({"difference": paired_difference(*points)})["difference"]
    return {"rise": difference, "difference": difference}


def tally(folder, draw):
    """The verdicts of `judged` over the trials, of each kind."""
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "x", "tasks": {"countdown": {}}}))
    return zip(*(judged(folder, *draw(np.random.default_rng(trial))) for trial in range(TRIALS)), strict=True)


def simulated_rates(rng, problems):
    """Chances to be right at a temperature: one right answer among six, with logits that differ by problem."""
    logits = rng.normal(0, 1, (problems, 6))
    logits[:, 0] += rng.normal(1.3, 1.2, problems)

    def at(temperature, sharpening=1.0):
        scaled = logits * sharpening / temperature if temperature else logits * 1e6
        weights = np.exp(scaled - scaled.max(1, keepdims=True))
        return weights[:, 0] / weights.sum(1)

    return at


def drawn(rng, rates):
    """Right samples and samples of each problem at each temperature."""
    counts = {t: SAMPLES if t else 1 for t in rates}
    return {t: (rng.binomial(counts[t], r).astype(float), np.full(len(r), float(counts[t]))) for t, r in rates.items()}


def peaked_rates(rng, problems):
    """Chances that are best between 0.6 and 0.8: a rival is mostly ahead of the right answer, 100 others far behind."""
    logits = np.stack([np.zeros(problems), rng.normal(0.8, 0.8, problems), np.full(problems, -4.3)], 1)

    def at(temperature, sharpening=1.0):
        scaled = logits * sharpening / temperature if temperature else logits * 1e6
        weights = np.exp(scaled - scaled.max(1, keepdims=True)) * (1, 1, 100)
        return weights[:, 0] / weights.sum(1)

    return at


def simulated(sharpening, gain=0.0, *, start=1, rates_at=simulated_rates, grid=TEMPERATURES):
    def draw(rng):
        tables, choices = [], []
        test, validation = rates_at(rng, PROBLEMS), rates_at(rng, CHOICE)
        for factor, extra in ((start, 0.0), (sharpening, gain)):
            for rates_of, into in ((test, tables), (validation, choices)):
                rates = {t: rates_of(t, factor) for t in grid}
                into.append(drawn(rng, {t: r + (1 - r) * extra / (1 - r.mean()) for t, r in rates.items()}))
        return tables, choices

    return draw


@cache
def real_samples():
    found = json.loads(REAL.read_text())
    return {
        int(factor): {
            split: {float(t): np.array(right) for t, right in by_temperature.items()}
            for split, by_temperature in splits.items()
        }
        for factor, splits in found.items()
    }


def real(factor, gain=0.0, *, start=1):
    """Problems drawn anew from the real ones, 4 of their 6 samples; a gain makes a share of the wrong ones right."""

    def draw(rng):
        tables, choices = [], []
        for split, count, into in (("test", PROBLEMS, tables), ("validation", CHOICE, choices)):
            places = rng.integers(0, len(real_samples()[1][split][1.0]), count)
            for model, extra in ((start, 0.0), (factor, gain)):
                by_temperature = {}
                for t, right in real_samples()[model][split].items():
                    of = 6 if t else 1
                    some = rng.hypergeometric(right[places], of - right[places], SAMPLES if t else 1)
                    size = SAMPLES if t else 1
                    lift = extra / max(1e-9, 1 - right.mean() / of)
                    by_temperature[t] = ((some + rng.binomial(size - some, lift)).astype(float), np.full(count, size))
                into.append(by_temperature)
        return tables, choices

    return draw


@pytest.mark.parametrize(("samples", "sharpening"), [(simulated, 2), (simulated, 3), (real, 3)])
def test_a_temperature_in_the_weights_is_no_gain(tmp_path, samples, sharpening):
    hard, _, plain = tally(tmp_path, samples(sharpening))
    assert hard.count("not supported") >= ENOUGH
    assert plain.count("supported") >= ENOUGH  # the trap: at temperature 1 it looks like one


@pytest.mark.parametrize(("samples", "sharpening"), [(simulated, 1), (simulated, 3), (real, 1), (real, 3)])
def test_ten_points_at_the_best_decoding_are_found(tmp_path, samples, sharpening):
    hard, _, _ = tally(tmp_path, samples(sharpening, 0.1))
    assert hard.count("supported") >= ENOUGH


@pytest.mark.parametrize(("sharpening", "trapped"), [(2, 10), (3, 80)])
def test_a_start_at_its_best_above_the_grid_is_beaten_by_no_gain(tmp_path, sharpening, trapped):
    hard, before, _ = tally(tmp_path, simulated(1, start=sharpening, rates_at=peaked_rates))
    assert hard.count("supported") <= TRIALS - ENOUGH
    assert before.count("supported") >= trapped  # the trap: at the best of the grid it looks like one


def test_a_real_start_too_sharp_is_beaten_by_no_gain(tmp_path):
    hard, _, _ = tally(tmp_path, real(1, start=3))
    assert hard.count("not supported") >= ENOUGH


def test_a_gain_over_a_start_that_solves_nothing_is_found(tmp_path):
    hard, _, _ = tally(tmp_path, from_nothing(0.6))
    assert hard.count("supported") >= ENOUGH
    hard, _, _ = tally(tmp_path / "null", from_nothing(0.0))
    assert hard.count("not supported") >= ENOUGH


def from_nothing(gain):
    """A start that is wrong at every temperature, as one that never writes the tags, and a model right at `gain`."""

    def draw(rng):
        tables, choices = (
            [drawn(rng, {t: np.full(count, rate) for t in TEMPERATURES}) for rate in (0.0, gain)]
            for count in (PROBLEMS, CHOICE)
        )
        return tables, choices

    return draw


@pytest.mark.parametrize(("start", "gain", "expected"), [(3, 0.0, "not supported"), (1, 0.1, "supported")])
def test_hotter_temperatures_tell_a_start_too_sharp_from_a_gain(tmp_path, start, gain, expected):
    hard, _, _ = tally(tmp_path, simulated(1, gain, start=start, rates_at=peaked_rates, grid=HOTTER))
    assert hard.count(expected) >= ENOUGH
