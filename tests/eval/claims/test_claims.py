import json

import numpy as np
import pytest
import yaml

from eval.claims.claims import CLAIMS, judge, judge_claims
from eval.claims.evidence import Effort
from eval.curves.training_curve import rise_and_difference
from eval.measures.estimators import Estimate

PROBLEMS, SAMPLES = Effort().problems, Effort().samples  # as many as `make quickstart` takes
# Right samples of 32, of 100 held-out problems: the cold-started model of a quickstart run. So problems really differ.
RIGHT_OF_32 = """0 0 0 0 0 0 0 0 0 0 2 2 2 2 2 2 2 2 2 3 3 3 3 4 4 4 4 4 4 5 5 5 5 5 5 5 5 6 6 6 6 7 7 7 7 8 8 9 9 9
    9 9 9 10 10 10 10 10 10 10 10 10 11 11 11 11 11 12 13 14 15 15 16 16 16 16 16 17 17 18 18 18 18 18 19 20 21 21 21
    21 21 22 22 24 24 25 25 25 26 31"""


def write_run(folder, seed=0, evidence=None, **config):
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    settings = {"name": folder.name, "seed": seed, "tasks": {"countdown": {}}} | config
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for name, content in (evidence or {}).items():
        path = folder / "evaluation" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def verdict(number, *runs):
    return judge_claims(runs)["claims"][number - 1]["verdict"]


def verdicts_of_simulated_runs(folder, gains, seeds=1):
    """Claim 1 of 100 trials, each on other problems and, of each of its checkpoints, other samples."""
    rng = np.random.default_rng(11)
    measured = np.array(RIGHT_OF_32.split(), float) / 32
    found = []
    for _ in range(100):
        rates = rng.choice(measured, PROBLEMS)  # a problem is as hard for every seed
        runs = []
        for seed in range(seeds):
            points = [(rng.binomial(SAMPLES, better(rates, gain)).astype(float), SIZES) for gain in gains]
            runs.append(write_run(folder / f"{seed}", seed, {"train-curve": rise_and_difference(points)}))
        found.append(verdict(1, *runs))
    return found


SIZES = np.full(PROBLEMS, float(SAMPLES))


def better(rates, gain):
    """Success rates that are `gain` higher on average: what is not yet right becomes right, a share of it alike."""
    return rates + (1 - rates) * gain / (1 - rates.mean())


@pytest.mark.parametrize(("gains", "seeds"), [([0, 0], 1), ([0, 0, 0, 0], 1), ([0, 0, 0, 0], 3)])
def test_a_checkpoint_evaluated_twice_shows_no_improvement(tmp_path, gains, seeds):
    assert verdicts_of_simulated_runs(tmp_path, gains, seeds).count("not supported") >= 95


@pytest.mark.parametrize(("gains", "seeds"), [([0, 0.1], 1), ([0, 0.05, 0.08, 0.1], 3)])
def test_ten_points_of_improvement_are_found(tmp_path, gains, seeds):
    assert verdicts_of_simulated_runs(tmp_path, gains, seeds).count("supported") >= 95


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.3, "supported"),
        (-0.03, 0.04, "not supported"),  # narrow enough to have shown five points
        (-0.08, 0.09, "inconclusive"),  # too wide to tell
        (-0.3, -0.1, "not supported"),  # wide, and on the wrong side
    ],
)
def test_an_interval_decides(low, high, expected):
    assert judge(Estimate((low + high) / 2, low, high, 100)) == expected
    assert judge(Estimate((low + high) / 2 + 1, low + 1, high + 1, 100), above=1.0) == expected


def estimate(low, high):
    return {"value": (low + high) / 2, "low": low, "high": high, "count": 100}


def test_the_weakest_condition_decides(tmp_path):
    good, flat, wide = estimate(0.1, 0.2), estimate(-0.01, 0.01), estimate(-0.2, 0.2)
    for first, second, expected in [
        (good, good, "supported"),
        (good, wide, "inconclusive"),
        (good, flat, "not supported"),
        (wide, flat, "not supported"),
        (good, None, "inconclusive"),
    ]:
        run = write_run(tmp_path / "run", evidence={"train-curve": {"difference": first, "rise": second}})
        assert verdict(1, run) == expected


def test_what_is_missing_says_how_it_is_come_by_or_why_there_is_none(tmp_path):
    run = write_run(tmp_path / "run")
    for claim in judge_claims([run])["claims"]:
        assert claim["verdict"] == "inconclusive"
        assert claim["missing"] == [f"python scripts/claims.py --run {run}"]
    scratch = [write_run(tmp_path / f"{seed}", seed, model="scratch") for seed in (0, 1)]
    assert judge_claims(scratch)["claims"][6]["missing"] == [CLAIMS[6].from_scratch]
    found = {"measures": {"valid_steps": estimate(0.1, 0.2)}}
    probes = {"pairs": [{"decomposition": found, "behaviour": {"measures": {"subgoals_met": None}}}]}
    without = write_run(tmp_path / "without", evidence={"probes": probes})
    assert judge_claims([without])["claims"][3]["missing"] == [
        "nothing in without to take it from: subgoals that are met, change."
    ]


def test_shares_of_several_seeds_stay_shares_and_what_no_seed_changes_stays_as_it_is(tmp_path):
    runs = []
    for seed, share in enumerate([0.99, 0.60, 0.95]):
        measures = {"own_answer_follows": estimate(share - 0.01, share + 0.01)}
        detectors = {"monitor": {"all": {"right": 50, "extra": 0, "missed": 0}}}
        probes = {"checkpoints": [{"faithfulness": {"measures": measures}}], "detectors": detectors}
        runs.append(write_run(tmp_path / f"{seed}", seed, {"probes": probes}))
    follows, _, precision, _ = (figure["estimate"] for figure in judge_claims(runs)["claims"][5]["figures"])
    assert (follows["value"], follows["high"]) == (pytest.approx(0.8467, abs=1e-4), 1.0)
    assert precision == judge_claims(runs[:1])["claims"][5]["figures"][2]["estimate"]


def test_three_seeds_speak_of_more_than_these_runs(tmp_path):
    evidence = {"train-curve": {"difference": estimate(0.1, 0.2), "rise": estimate(0.1, 0.2)}}
    runs = [write_run(tmp_path / f"{seed}", seed, evidence) for seed in range(3)]
    assert [judge_claims(runs[:count])["scope"] for count in (1, 2, 3)] == [
        "in this run",
        "in these 2 runs",
        "across 3 seeds",
    ]


def test_seeds_that_disagree_do_not_support_a_claim(tmp_path):
    gains = [0.30, 0.02, 0.01]
    runs = []
    for seed, gain in enumerate(gains):
        found = estimate(gain - 0.005, gain + 0.005)
        runs.append(write_run(tmp_path / f"{seed}", seed, {"train-curve": {"difference": found, "rise": found}}))
    assert all(verdict(1, run) == "supported" for run in runs)
    assert verdict(1, *runs) == "inconclusive"


def test_a_detectors_counts_have_an_interval(tmp_path):
    measures = {"own_answer_follows": estimate(0.8, 0.9), "follows_corrupted": estimate(0.7, 0.9)}
    probes = {
        "checkpoints": [{}, {"faithfulness": {"measures": measures}}],
        "detectors": {"monitor": {"all": {"right": 49, "extra": 0, "missed": 1, "precision": 1.0, "recall": 0.98}}},
    }
    run = write_run(tmp_path / "run", evidence={"probes": probes})
    claim = judge_claims([run])["claims"][5]
    assert claim["verdict"] == "supported"
    assert claim["figures"][3]["estimate"]["low"] == pytest.approx(0.895, abs=1e-3)  # Wilson, 49 of 50


def test_runs_that_are_no_seeds_of_one_are_refused(tmp_path):
    first = write_run(tmp_path / "a", 0)
    with pytest.raises(ValueError, match=r"no seeds of one run: tasks is .*countdown.* and .*arithmetic"):
        judge_claims([first, write_run(tmp_path / "b", 1, tasks={"arithmetic": {}})])
    with pytest.raises(ValueError, match="a seed that stands twice"):
        judge_claims([first, write_run(tmp_path / "c", 0)])
    with pytest.raises(ValueError, match="nowhere is no run folder"):
        judge_claims([tmp_path / "nowhere"])


def test_evidence_that_cannot_be_read_is_named(tmp_path):
    run = write_run(tmp_path / "run", evidence={"train-curve": {"difference": 3}})
    with pytest.raises(ValueError, match=r"train-curve\.json cannot be read as evidence"):
        judge_claims([run])
