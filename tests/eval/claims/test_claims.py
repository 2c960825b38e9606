import json

import numpy as np
import pytest
import yaml

from eval.claims.claims_table import markdown, render
from eval.claims.conditions import ALLOWANCE, CLAIMS, judge, judge_loss, loses_nothing
from eval.claims.controls import NO_CONTROL
from eval.claims.figures import thinking_curve
from eval.claims.judging import judge_claims
from eval.curves.training_curve import rise_and_difference
from eval.measures.estimators import Estimate, paired_difference
from eval.probes.probing import STAGES
from eval.report.verdicts import intervals
from eval.settings import Effort

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


def curve(points):
    """The evidence of a train-compute curve: alike at temperature 1 and at the best decoding."""
    found = rise_and_difference(points)
    return {"train-curve": found | {"best": found, "greedy": {"difference": found["difference"]}}}


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
            runs.append(write_run(folder / f"{seed}", seed, curve(points)))
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


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (0.0, 0.03, "supported"),
        (-0.019, 0.03, "supported"),
        (0.0, 0.06, "inconclusive"),  # a loss of five points is not ruled out
        (-0.03, 0.04, "inconclusive"),  # a loss, but perhaps none
        (-0.03, 0.02, "not supported"),
        (0.2, 0.3, "inconclusive"),
    ],
)
def test_what_must_not_lose_may_lose_two_points(value, half, expected):
    figure = Estimate(value, value - half, value + half, 100)
    assert judge_loss(figure, 0.02) == expected
    rising = Estimate(-value, -value - half, -value + half, 100)
    assert loses_nothing(thinking_curve("room"), "", falling=True).judge(rising) == expected


@pytest.mark.parametrize(("loss", "passed"), [(0.0, range(95, 101)), (0.05, range(6))])
def test_a_loss_of_five_points_passes_as_rarely_as_the_interval_says(loss, passed):
    """200 problems with 2 samples of each, as at a budget: 2% of the answers are put right, and `loss` more spoilt."""
    rng, sizes = np.random.default_rng(9), np.full(200, 2.0)
    verdicts = []
    for _ in range(100):
        solved = rng.random(200) < 0.9  # alike within a problem
        spoilt = rng.binomial(2, np.where(solved, (0.02 + loss) / 0.9, 0))
        put_right = rng.binomial(2, np.where(solved, 0, 0.02 / 0.1))
        before = 2.0 * solved
        figure = paired_difference((before, sizes), (before - spoilt + put_right, sizes))
        verdicts.append(judge_loss(figure, ALLOWANCE))
    assert verdicts.count("supported") in passed


def test_the_weakest_condition_decides(tmp_path):
    good, flat, wide = estimate(0.1, 0.2), estimate(-0.01, 0.01), estimate(-0.2, 0.2)
    for first, second, expected in [
        (good, good, "supported"),
        (good, wide, "inconclusive"),
        (good, flat, "not supported"),
        (wide, flat, "not supported"),
        (good, None, "inconclusive"),
    ]:
        run = write_run(tmp_path / "run", evidence=figures(first, second))
        assert verdict(1, run) == expected


def test_what_holds_at_temperature_1_alone_supports_nothing(tmp_path):
    good, flat = estimate(0.2, 0.3), estimate(-0.01, 0.01)
    run = write_run(tmp_path / "run", evidence=figures(flat, flat, plain=good))
    claims = judge_claims([run])
    assert claims["claims"][0]["verdict"] == "not supported"
    assert claims["headline"]["best"] == flat and claims["headline"]["at_temperature_1"] == good


def compared(difference, *, enough=True):
    """A control as controls.json holds it."""
    flops = 10.0 if enough else 5.0
    found = {"difference": difference, "enough": enough, "checkpoint": "c", "trained": "t", "flops": flops}
    return found | {"flops_of_reinforcement": 10.0}


BEHIND, LEVEL = (0.1, 0.2), (-0.01, 0.01)  # of RL's difference to a control: RL is clearly ahead, and is not


def judged_beside(tmp_path, *controls):
    """Claim 1 on runs that RL improved, each with its controls; and the remarks."""
    good = figures(estimate(0.1, 0.2), estimate(0.1, 0.2))
    runs = [
        write_run(tmp_path / f"run{seed}", seed, good | ({"controls": each} if each else {}))
        for seed, each in enumerate(controls)
    ]
    claims = judge_claims(runs)
    return claims["claims"][0], " ".join(claims["words"])


@pytest.mark.parametrize(
    ("difference", "enough", "expected", "judged"),
    [
        (BEHIND, True, "supported", True),
        (LEVEL, True, "not supported", True),
        (BEHIND, False, "supported", False),  # to be ahead of one that had less says nothing
        (LEVEL, False, "not supported", True),  # not to be ahead of it says all the more
        ((-0.2, -0.1), False, "not supported", True),
        ((-0.2, 0.2), False, "inconclusive", True),
    ],
)
def test_a_control_with_too_little_compute_is_left_out_only_where_it_is_beaten(
    tmp_path, difference, enough, expected, judged
):
    claim, words = judged_beside(tmp_path, {"rft": compared(estimate(*difference), enough=enough)})
    assert claim["verdict"] == expected
    assert [figure["figure"] for figure in claim["figures"]].count("controls:rft.difference") == judged
    assert claim["open"] == ([] if judged else [NO_CONTROL])
    assert ("decides nothing" in words) is not judged and f"spent {100 if enough else 50}% of RL's FLOPs" in words


def test_a_control_is_judged_on_the_runs_that_it_is_not_left_out_of(tmp_path):
    ahead, beaten = (compared(estimate(0.01, 0.02)), compared(estimate(0.3, 0.4), enough=False))
    claim, words = judged_beside(tmp_path, {"rft": ahead}, {"rft": beaten})
    assert claim["verdict"] == "supported" and not claim["missing"]
    assert claim["figures"][-1]["estimate"]["value"] == pytest.approx(0.015)
    assert words.count("decides nothing") == 1 and "run1: rft" in words


def test_a_control_that_had_the_compute_in_one_run_alone_is_called_of_equal_or_less(tmp_path):
    more, less = compared(estimate(*BEHIND)) | {"flops": 10.5}, compared(estimate(*LEVEL), enough=False)
    claim, words = judged_beside(tmp_path, {"rft": more}, {"rft": less})
    assert "spent 105% of" in words and "spent 50% of" in words
    assert claim["figures"][-1]["says"] == "trained minus rft of equal or less compute, at best decoding"


def test_a_control_that_had_more_compute_counts_and_is_called_that(tmp_path):
    much = compared(estimate(*LEVEL)) | {"flops": 15.0}
    claim, words = judged_beside(tmp_path, {"rft": much}, {"rft": compared(estimate(*LEVEL))})
    assert claim["verdict"] == "not supported" and "spent 150% of" in words
    assert claim["figures"][-1]["says"] == "trained minus rft of equal or more compute, at best decoding"


@pytest.mark.parametrize("difference", [BEHIND, LEVEL])
@pytest.mark.parametrize("other", [{}, {"more-cold-start": compared(estimate(*BEHIND))}])
@pytest.mark.parametrize("place", [0, 1])
def test_a_control_that_some_runs_lack_leaves_the_claim_open_and_is_named(tmp_path, difference, other, place):
    controls = [other, other]
    controls[place] = other | {"rft": compared(estimate(*difference))}
    claim, _ = judged_beside(tmp_path, *controls)
    assert claim["verdict"] == "inconclusive"
    assert claim["missing"] == [
        f"run{1 - place} was not compared with rft: give --against rft=RUN once for each run, in their order."
    ]


def test_a_control_that_is_left_out_of_one_run_is_still_missing_in_the_other(tmp_path):
    claim, _ = judged_beside(tmp_path, {"rft": compared(estimate(*BEHIND), enough=False)}, {})
    assert claim["verdict"] == "inconclusive" and "run1 was not compared with rft" in claim["missing"][0]


@pytest.mark.parametrize(
    ("start", "trained", "expected", "says"),
    [
        ((0.02, 0.06), (0.02, 0.06), "supported", ""),
        ((-0.02, 0.06), (0.02, 0.06), "inconclusive", "run: the accuracy of the start is not shown to fall by"),
        ((0.02, 0.06), (-0.06, -0.02), "supported", "accuracy of the trained model is not shown to fall by"),
        (None, (0.02, 0.06), "inconclusive", "fall by temperature 1, the hottest tried (best: 0), so its best may be"),
    ],
)
def test_a_gain_over_a_start_that_may_be_better_hotter_is_not_supported(tmp_path, start, trained, expected, says):
    evidence = figures(estimate(0.1, 0.2), estimate(0.1, 0.2))
    evidence["train-curve"]["hottest"] = {
        model: {"temperatures": [0.0, 1.0], "best": 0.0, "fall": fall and estimate(*fall)}
        for model, fall in (("start", start), ("trained", trained))
    }
    claims = judge_claims([write_run(tmp_path / "run", evidence=evidence)])
    first = claims["claims"][0]
    assert first["verdict"] == expected
    hotter = [line for line in (*first["open"], *claims["words"]) if "--temperatures 0 1 1.5 2." in line]
    assert len(hotter) == (says != "") and all(says in line for line in hotter)
    assert first["open"] == [*(hotter if expected == "inconclusive" else ()), NO_CONTROL]
    assert all(line in " ".join(render(claims).split()) for line in (*hotter, f"open: {NO_CONTROL}"))
    assert all(f"open: {line}" in markdown(claims, "", "") for line in first["open"])


def test_several_seeds_show_together_that_the_start_gets_worse_when_hotter(tmp_path):
    runs = []
    for seed, fall in enumerate([estimate(-0.005, 0.055), estimate(0.02, 0.08), estimate(0.02, 0.08)]):
        evidence = figures(estimate(0.1, 0.2), estimate(0.1, 0.2))
        hottest = {"temperatures": [0.0, 1.0], "best": 0.0, "fall": fall}
        evidence["train-curve"]["hottest"] = {"start": hottest, "trained": hottest}
        runs.append(write_run(tmp_path / f"{seed}", seed, evidence))
    assert verdict(1, runs[0]) == "inconclusive" and verdict(1, *runs) == "supported"


def test_each_run_names_its_own_hottest_temperature(tmp_path):
    runs = [
        write_run(tmp_path / f"run{seed}", seed, with_start({"temperatures": grid, "best": 0.3, "fall": None}))
        for seed, grid in enumerate([[0.3, 1.0], [0.3, 1.5], [0.3, 1.0]])
    ]
    hotter, no_control = judge_claims(runs)["claims"][0]["open"]
    assert no_control == NO_CONTROL
    assert hotter.startswith("run0, run1, run2: the accuracy of the start is not shown to fall by the hottest ")
    assert "temperature tried, 1 in run0, 1.5 in run1, 1 in run2 (best: 0.3), so" in hotter
    assert hotter.endswith("give hotter ones, such as --temperatures 0.3 1 1.5 2.25 3.")


@pytest.mark.parametrize(
    ("bound", "expected"),
    # An earlier version wrote no bound.
    [({"upper_bound": 0.049}, "supported"), ({"upper_bound": 0.05}, "inconclusive"), ({}, "inconclusive")],
)
def test_a_start_that_solves_nothing_need_not_get_worse(tmp_path, bound, expected):
    nothing = {"temperatures": [0.0, 1.0], "best": 0.0, "fall": estimate(-0.09, 0.09)}
    assert verdict(1, write_run(tmp_path / "run", 0, with_start(nothing | bound))) == expected
    falls = nothing | {"fall": estimate(0.02, 0.08), "upper_bound": 0.9}
    assert verdict(1, tmp_path / "run", write_run(tmp_path / "other", 1, with_start(falls))) == expected


@pytest.mark.parametrize(
    "record",
    [
        None, [], {}, {"best": 0.0, "fall": None}, {"temperatures": [], "best": 0.0, "fall": None},
        {"temperatures": ["1"], "best": 0.0, "fall": None}, {"temperatures": [1], "best": None, "fall": None},
        {"temperatures": [1], "best": 1, "fall": 0.1}, {"temperatures": [1], "best": 1, "fall": {"low": 0.1}},
        {"temperatures": [1], "best": 1, "fall": {"value": "0", "low": "0", "high": "0", "count": 1}},
        {"temperatures": [1], "best": 1, "fall": None, "upper_bound": "1"},
    ],
)  # fmt: skip
def test_a_record_of_the_grid_that_cannot_be_read_names_its_file(tmp_path, record):
    run = write_run(tmp_path / "run", evidence=with_start(record))
    with pytest.raises(ValueError, match=r"/train-curve\.json cannot be read .* train-curve:hottest\.start"):
        judge_claims([run])


def with_start(record):
    """The evidence of a gain, with what the start did over its grid. The trained model gets worse when hotter."""
    trained = {"temperatures": [0.0, 1.0], "best": 0.0, "fall": estimate(0.02, 0.06)}
    evidence = figures(estimate(0.1, 0.2), estimate(0.1, 0.2))
    return {"train-curve": evidence["train-curve"] | {"hottest": {"start": record, "trained": trained}}}


def figures(difference, rise, plain=None):
    """The evidence of claim 1, at the best decoding and (where it differs) at temperature 1."""
    plain = {"difference": plain or difference, "rise": plain or rise}
    best = {"difference": difference, "rise": rise}
    return {"train-curve": plain | {"best": best, "greedy": {"difference": difference}}}


def test_what_is_missing_says_how_it_is_come_by_or_why_there_is_none(tmp_path):
    run = write_run(tmp_path / "run")
    for claim in judge_claims([run])["claims"]:
        assert claim["verdict"] == "inconclusive"
        assert claim["missing"] == [f"python scripts/claims.py --run {run}"]
    scratch = [write_run(tmp_path / f"{seed}", seed, model="scratch") for seed in (0, 1)]
    assert judge_claims(scratch)["claims"][6]["missing"] == [CLAIMS[6].from_scratch]
    without = write_run(tmp_path / "without", evidence={"probes": probes({"subgoals_met": None})})
    assert judge_claims([without])["claims"][3]["missing"] == [
        "nothing in without to take it from: subgoals that are met, change."
    ]


def probes(measures=None, counts=(50, 0, 0)):
    """Probes of which every figure is clear of its threshold, but those in `measures`."""
    stages = {
        stage: {"measures": {name: (measures or {}).get(name, estimate(0.9, 0.95)) for name in of}}
        for stage, (_, of, _) in STAGES.items()
    }
    detector = {"all": dict(zip(("right", "extra", "missed"), counts, strict=True))}
    return {"checkpoints": [stages], "pairs": [stages], "detectors": {"monitor": detector}}


def test_a_figure_that_is_not_there_is_an_error_that_names_it(tmp_path):
    evidence = {"probes": probes()}
    del evidence["probes"]["checkpoints"][0]["behaviour"]["measures"]["wrong_rejected"]
    run = write_run(tmp_path / "run", evidence=evidence)
    with pytest.raises(ValueError, match=r"has no figure probes:checkpoints.-1.behaviour.measures.wrong_rejected"):
        judge_claims([run])


def test_evidence_of_an_earlier_version_may_lack_what_judges_nothing(tmp_path):
    level = estimate(0.1, 0.2)
    whole = {name: level for name in ("beyond_habit", "equal_tokens", "room", "wait", "rise", "above")}
    whole |= {"held": {"by_thinking": level, "beyond": level}, "parallel_areas": {"pass": level, "maj": level}}
    whole |= {"note": "", "stages": [], "crossover": {"words": ""}}
    judged = judge_claims([write_run(tmp_path / "run", evidence={"test-curve": whole})])
    claim = judged["claims"][1]
    assert claim["verdict"] == "supported" and not claim["missing"]
    assert [figure["figure"] for figure in claim["beside"] if figure["estimate"] is None] == ["test-curve:beyond_start"]
    assert "largest budget minus that of the start" not in render(judged) + markdown(judged, "", "")
    assert len(intervals(claim)) == len(claim["figures"] + claim["beside"]) - 1


def test_new_approaches_are_also_shown_among_the_failures_that_another_attempt_follows(tmp_path):
    measured = {"new_approach_after_failure": estimate(0.08, 0.15), "new_approach_of_retries": estimate(-0.01, 0.06)}
    evidence = {"probes": probes(measured)}
    run = write_run(tmp_path / "run", evidence=evidence)
    shown = {figure["figure"]: figure["estimate"] for figure in judge_claims([run])["claims"][4]["beside"]}
    assert shown["probes:pairs.-1.behaviour.measures.new_approach_of_retries"] == estimate(-0.01, 0.06)
    before = judge_claims([run])["claims"][4]["verdict"]
    del evidence["probes"]["pairs"][0]["behaviour"]["measures"]["new_approach_of_retries"]  # as earlier versions wrote
    claim = judge_claims([write_run(run, evidence=evidence)])["claims"][4]
    assert claim["verdict"] == before and not claim["missing"] and len(intervals(claim)) == 4


def test_a_second_turn_that_nothing_came_of_is_shown_as_such(tmp_path):
    never = {"value": 0.0, "low": 0.0, "high": 0.02, "count": 200}
    measured = {"difference": never | {"low": -0.02}, "reconsidered": never}
    claim = judge_claims([write_run(tmp_path / "run", evidence={"probes": probes(measured)})])["claims"][2]
    (shown,) = (row for row in intervals(claim) if row.says == "second turns in which it goes on or changes its answer")
    assert (shown.value, shown.interval, shown.verdict) == ("0.0%", "[0.0, 2.0]", "")


def test_every_figure_of_a_probe_is_one_that_the_probe_measures():
    conditions = [one for claim in CLAIMS for one in (*claim.conditions, *claim.beside)]
    probed = [figure.keys for one in conditions if (figure := one.figure).file == "probes"]
    of_stages = [keys for keys in probed if keys[0] != "detectors"]
    assert of_stages
    assert not [measure for *_, stage, _, measure in of_stages if measure not in STAGES[stage][1]]


def test_shares_of_several_seeds_stay_shares_and_what_no_seed_changes_stays_as_it_is(tmp_path):
    runs = []
    for seed, share in enumerate([0.99, 0.60, 0.95]):
        found = probes({"own_answer_follows": estimate(share - 0.01, share + 0.01)})
        runs.append(write_run(tmp_path / f"{seed}", seed, {"probes": found}))
    claim = judge_claims(runs)["claims"][5]
    follows, precision = claim["figures"][0]["estimate"], claim["beside"][0]["estimate"]
    assert (follows["value"], follows["high"]) == (pytest.approx(0.8467, abs=1e-4), 1.0)
    assert precision == judge_claims(runs[:1])["claims"][5]["beside"][0]["estimate"]


def test_three_seeds_speak_of_more_than_these_runs(tmp_path):
    evidence = figures(estimate(0.1, 0.2), estimate(0.1, 0.2))
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
        runs.append(write_run(tmp_path / f"{seed}", seed, figures(found, found)))
    assert all(verdict(1, run) == "supported" for run in runs)
    assert verdict(1, *runs) == "inconclusive"


def test_a_detectors_counts_have_an_interval_and_judge_no_run(tmp_path):
    for missed, low in ((1, 0.895), (40, 0.112)):  # Wilson, 49 of 50 and 10 of 50
        counts = (50 - missed, 0, missed)
        claim = judge_claims([write_run(tmp_path / "run", evidence={"probes": probes(counts=counts)})])["claims"][5]
        assert claim["verdict"] == "supported"
        recall = next(figure for figure in claim["beside"] if figure["figure"].endswith("recall"))
        assert recall["says"].endswith("on the labelled traces")
        assert recall["estimate"]["low"] == pytest.approx(low, abs=1e-3)


def test_runs_that_are_no_seeds_of_one_are_refused(tmp_path):
    first = write_run(tmp_path / "a", 0)
    with pytest.raises(ValueError, match=r"not seeds of one run: tasks is .*countdown.* and .*arithmetic"):
        judge_claims([first, write_run(tmp_path / "b", 1, tasks={"arithmetic": {}})])
    with pytest.raises(ValueError, match="a seed that is given twice"):
        judge_claims([first, write_run(tmp_path / "c", 0)])
    with pytest.raises(ValueError, match="nowhere is not a run folder"):
        judge_claims([tmp_path / "nowhere"])


def test_evidence_that_cannot_be_read_is_named(tmp_path):
    run = write_run(tmp_path / "run", evidence=figures(3, 3))
    with pytest.raises(ValueError, match=r"train-curve\.json cannot be read as evidence: train-curve:best.difference"):
        judge_claims([run])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("controls", None, "holds no JSON object"),
        ("controls", 5, "holds no JSON object"),
        (
            "controls",
            {"rft": None},
            "has no checkpoint, difference, enough, flops, flops_of_reinforcement, trained of rft",
        ),
        (
            "controls",
            {"rft": {"enough": True, "checkpoint": "c", "difference": None, "flops": 1.0, "trained": "t"}},
            "has no flops_of_reinforcement of rft; .*: give --against rft=RUN again",
        ),
        ("train-curve", None, "holds no JSON object"),
    ],
)
def test_evidence_of_another_form_is_one_line_that_names_its_file(tmp_path, name, content, said):
    good = estimate(0.1, 0.2)
    run = write_run(tmp_path / "run", evidence=figures(good, good) | {name: content})
    with pytest.raises(ValueError, match=rf"{name}\.json {said}"):
        judge_claims([run])
