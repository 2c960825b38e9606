"""The ranking, its intervals, and whether the first is really first."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stubbed import spec

from eval.measures.estimators import ratio
from eval.measures.seeds import across_seeds
from eval.sweep.ranking import measure
from eval.sweep.ranking.importance import ENOUGH, FEWEST, importances
from eval.sweep.ranking.results import collect
from eval.sweep.ranking.words import cautions, verdict
from eval.sweep.setup.folder import open_folder
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.records import Attempt
from eval.sweep.trials.work import open_store

PROBLEMS = 60
AT = "2026-01-01T00:00:00+00:00"


def leave(run, right, task="countdown"):
    """What a run leaves that answers the first `right` problems, one sample each."""
    (run / "rollouts.parquet").mkdir(parents=True)
    rows = [
        {"problem": f"p{i:02d}", "task": task if i else "arithmetic", "correct": i < right, "thinking_tokens": i + 1}
        for i in range(PROBLEMS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), run / "rollouts.parquet" / "validation-000008-rank0-000.parquet")
    told = {"phase": "rl", "step": 8, "eval_accuracy": right / PROBLEMS}
    (run / "metrics.jsonl").write_text(json.dumps({"phase": "cold-start", "step": 9}) + "\n" + json.dumps(told) + "\n{")


def swept(folder, rights, **values):
    """The results of a sweep whose trials answered so many problems, seed by seed."""
    values = {"search": {"learning_rate": list(range(1, len(rights) + 1))}, "seeds": (0, 1, 2)} | values
    found = open_folder(folder, spec(**values))
    with Presence(folder / "workers") as presence:
        store = open_store(folder, found, presence)
        for run in iter(store.take, None):
            leave(run.folder, rights[run.trial][run.seed])
            store.finish(run, Attempt(presence.id, AT, AT, "done"), "done")
        return collect(store)


def test_trials_are_ranked_by_their_mean_and_intervals_run_over_seeds_and_problems(tmp_path):
    results = swept(tmp_path, [(20, 22, 21), (40, 41, 42), (30, 30, 30)])
    assert [entry.number for entry in results.ranked] == [1, 2, 0]
    seeds = [ratio(*measure.sums({f"p{i:02d}": (float(i < n), 1.0) for i in range(PROBLEMS)})) for n in (40, 41, 42)]
    assert results.ranked[0].estimate == across_seeds(seeds)
    assert results.problems == PROBLEMS and results.over


def test_the_first_is_held_against_the_others_paired_by_seed_and_problem(tmp_path):
    results = swept(tmp_path, [(30, 31, 30), (50, 51, 50), (51, 50, 50)])
    near, far = results.ranked[1], results.ranked[2]
    assert near.behind.value == pytest.approx(0) and near.within_noise and results.ties == (near,)
    assert far.behind.value == pytest.approx(20 / 60) and not far.within_noise
    alone = results.ranked[0].estimate
    assert near.behind.high - near.behind.low < (alone.high - alone.low) / 2  # they fail at the same problems


def test_of_equals_the_earlier_is_first(tmp_path):
    assert [entry.number for entry in swept(tmp_path, [(9, 9, 9), (9, 9, 9)]).ranked] == [0, 1]


def test_less_is_first_where_the_sweep_says_so(tmp_path):
    results = swept(tmp_path, [(20, 20, 20), (40, 40, 40)], direction="minimize")
    assert [entry.number for entry in results.ranked] == [0, 1]
    assert results.ranked[1].behind.value == pytest.approx(20 / 60)  # the first is better, so positive


def test_a_ranking_warns_only_where_the_winner_is_within_noise(tmp_path):
    near = swept(tmp_path / "near", [(40, 41, 42), (41, 40, 41), (10, 11, 10)])
    assert "within noise" in verdict(near) and "The first is within noise of trial 1: " in cautions(near)[0]
    clear = swept(tmp_path / "clear", [(40, 41, 42), (10, 11, 12)])
    assert "clear of zero" in verdict(clear) and not any("noise" in said for said in cautions(clear))
    assert any("partly the luckiest" in said for said in cautions(clear))


def test_few_seeds_and_searched_decoding_are_cautioned(tmp_path):
    one = swept(tmp_path, [(40,), (10,)], seeds=(0,), search={"temperature": [0.5, 1.0]})
    assert any(said.startswith("With 1 seed of each trial") for said in cautions(one))
    assert any(said.startswith("temperature was searched, and is how") for said in cautions(one))


def test_one_tasks_problems_alone_and_another_metric(tmp_path):
    leave(tmp_path / "run", 30)
    assert len(measure.by_problem(tmp_path / "run", "accuracy/arithmetic", 8)) == 1
    tokens = measure.by_problem(tmp_path / "run", "thinking_tokens", 8)
    assert measure.estimate(tokens).value == pytest.approx((PROBLEMS + 1) / 2)


def test_a_run_that_was_not_evaluated_has_no_value(tmp_path):
    with pytest.raises(ValueError, match="was never evaluated"):
        measure.value(tmp_path, spec())
    leave(tmp_path / "run", 30)
    with pytest.raises(ValueError, match="no validation rollouts of step 4"):
        measure.by_problem(tmp_path / "run", "accuracy", 4)


def test_a_last_line_in_the_writing_is_left_for_the_next_look(tmp_path):
    leave(tmp_path / "run", 30)
    assert measure.curve(tmp_path / "run", "accuracy") == {8: 0.5} and measure.step(tmp_path / "run") == 8
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('"phase": "rl", "step": 12, "eval_accuracy": 0.75}\n')
    assert measure.curve(tmp_path / "run", "accuracy") == {8: 0.5, 12: 0.75}


@pytest.mark.parametrize(
    ("count", "caution"), [(FEWEST - 1, "too few for importances"), (FEWEST, "mean much"), (ENOUGH, "")]
)
def test_importances_say_when_there_are_too_few_trials(count, caution):
    from test_choose import over

    search = {"matters": {"low": 0.0, "high": 1.0}, "does_not": {"low": 0.0, "high": 1.0}}
    found = spec(search=search, method="random", trials=count)
    points = [{"matters": (i * 7 % count) / count, "does_not": i / count} for i in range(count)]
    result = importances(found, [over(found, params, params["matters"] ** 2) for params in points])
    assert (caution in result.caution) if caution else not result.caution
    assert bool(result.shares) == (count >= FEWEST)
    if count >= ENOUGH:
        assert list(result.shares) == ["matters", "does_not"] and result.shares["matters"] > 0.6


def test_one_field_has_all_the_importance():
    assert "One field" in importances(spec(), []).caution
