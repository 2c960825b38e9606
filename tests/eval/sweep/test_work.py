"""A sweep from beginning to end, its runs done by a stub: failures, stops, kills, and the files that it ends in."""

import json
import subprocess
import sys
import threading

import patience
import pytest
import stub_train
import yaml
from killing import ENVIRONMENT, ROOT, figures, kill, lines, outcomes, started, until
from stubbed import BASE, SETTLED, do, in_process, spec

from eval.measures import estimators
from eval.sweep.setup.check import Machine
from eval.sweep.setup.read import read_spec
from eval.sweep.setup.spec import Prune
from eval.sweep.trials import work
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.run_sweep import report
from eval.sweep.trials.work import SweepStopped

ONE = {"search": {"learning_rate": [1e-3]}, "workers": 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Runs in this process, no exact intervals, no plots, and no waiting."""
    monkeypatch.setattr(work, "launch", in_process)
    monkeypatch.setattr(work, "IDLE", 0.01)
    monkeypatch.setattr(estimators, "RESAMPLES", 50)
    monkeypatch.setattr("eval.sweep.trials.run_sweep.write_page", lambda results: None)


def records(results, number=0):
    entries = {entry.number: entry for entry in (*results.ranked, *results.others)}
    return {replica.seed: replica.record for replica in entries[number].replicas}


def words(results, number=0):
    return [attempt.outcome for record in records(results, number).values() for attempt in record.attempts]


def test_a_sweep_ends_in_a_ranking_results_and_a_config_to_run(tmp_path):
    results = do(tmp_path, spec())
    assert [entry.number for entry in results.ranked] == [1, 0, 2]  # 0.001 is best, the others are equally far from it
    assert results.ranked[0].estimate.value == pytest.approx(0.83125)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["ranking"] == [1, 0, 2] and found["over"] and found["validation_problems"] == 40
    seeds = found["trials"][1]["seeds"]
    assert [seed["estimate"]["value"] for seed in seeds.values()] == [0.8375, 0.825]
    assert [point[0] for point in seeds["0"]["curve"]] == [2, 4, 6, 8]
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith("# Trial 1 of the sweep small: learning_rate 0.001.\n")
    assert f"accelerate launch -m train --config {tmp_path}/best.yaml" in text
    assert yaml.safe_load(text) == {"name": "small-best", **BASE, "keep_last": 1, "eval_strategy": "steps"}


def test_a_run_that_crashed_goes_on_from_where_it_was(tmp_path):
    results = do(tmp_path, spec(**ONE, base=BASE | {"crash_at": 5}))
    assert words(results) == ["failed: exit code 1", "done"] * 2
    assert "RuntimeError: this step does not work" in records(results)[0].attempts[0].said
    starts = (tmp_path / "trials" / "000" / "seed-0.starts").read_text()
    assert [line.split()[0] for line in starts.splitlines()] == ["fresh", "resumed"]
    assert results.ranked[0].estimate.value == pytest.approx(0.83125)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_run_that_crashes_again_and_again_is_tried_as_often_as_told(tmp_path, retries):
    base = BASE | {"crash_at": 5, "crash_always": True}
    results = do(tmp_path, spec(**ONE, base=base, retries=retries))
    assert words(results) == ["failed: exit code 1"] * (1 + retries)
    assert [record.state for record in records(results).values()] == ["failed", "skipped"]
    assert not results.ranked and results.others[0].status == "failed: exit code 1 (seed 0)"
    assert not (tmp_path / "best.yaml").exists()


@pytest.mark.parametrize(
    ("trouble", "outcome", "states"),
    [
        ({"refuse": True}, "refused before any work", ["refused", "skipped"]),
        ({"guard_at": 5}, "stopped by a guard", ["guard", "guard"]),
    ],
)
def test_what_is_refused_or_stopped_by_a_guard_is_not_tried_again(tmp_path, trouble, outcome, states):
    results = do(tmp_path, spec(**ONE, base=BASE | trouble))
    assert [record.state for record in records(results).values()] == states
    assert set(words(results)) == {outcome} and results.others[0].status == f"{outcome} (seed 0)"
    assert all(record.attempts[0].said for record in records(results).values() if record.attempts)


def test_a_trial_that_failed_is_taken_up_again_where_that_is_asked(tmp_path):
    failing = spec(**ONE, base=BASE | {"crash_at": 5}, retries=0)
    assert do(tmp_path, failing).others
    results = do(tmp_path, failing, retry_failed=True)
    assert results.others and records(results)[0].state == "done"  # now the other seed has crashed
    results = do(tmp_path, failing, retry_failed=True)
    assert results.ranked
    assert [record.state for record in records(results).values()] == ["done", "done"]


def test_a_full_disk_stops_the_sweep_and_loses_nothing(tmp_path):
    full = spec(**ONE, base=BASE | {"full_at": 5})
    with pytest.raises(SweepStopped, match="mend that") as stopped:
        do(tmp_path, full)
    assert stopped.value.code == 5
    (tmp_path / "trials" / "000" / "seed-0.crashed").touch()  # as when space was made
    (tmp_path / "trials" / "000" / "seed-1.crashed").touch()
    results = do(tmp_path, full)
    assert [record.state for record in records(results).values()] == ["done", "done"]


def test_a_stop_that_is_asked_for_saves_the_runs_in_hand_and_the_same_command_goes_on(tmp_path):
    asked = threading.Event()
    evaluate = stub_train.evaluate

    def ask(run, metrics, step, share):
        evaluate(run, metrics, step, share)
        if (run.parent.name, step) == ("001", 4):
            asked.set()

    stub_train.evaluate = ask
    try:
        with pytest.raises(SweepStopped, match="The same command goes on") as stopped:
            do(tmp_path, spec(), asked.is_set)
    finally:
        stub_train.evaluate = evaluate
    assert stopped.value.code == 4
    so_far = json.loads((tmp_path / "results.json").read_text())
    assert so_far["ranking"] == [0] and not so_far["over"]
    results = do(tmp_path, spec())
    assert [entry.number for entry in results.ranked] == [1, 0, 2]
    assert "stopped by the sweep" in words(results, 1) and not any("failed" in said for said in words(results, 1))


def test_a_run_that_says_it_is_done_and_was_not_evaluated_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(stub_train, "evaluate", lambda *_: None)
    results = do(tmp_path, spec(**ONE, retries=0))
    assert "was never evaluated" in results.others[0].status


def test_an_error_of_our_own_ends_all_threads_and_is_not_hidden(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(work, "launch", broken)
    with pytest.raises(ZeroDivisionError):
        do(tmp_path, spec())


def test_pruned_trials_say_so_and_cost_little(tmp_path):
    search = {"learning_rate": [1e-3, 3e-4, 3e-5, 1e-5, 1.1e-3]}
    results = do(tmp_path, spec(search=search, prune=Prune(after=2), at_once=1, workers=1))
    assert [entry.number for entry in results.ranked] == [0, 4, 1]
    assert [entry.status for entry in results.others] == ["pruned at step 2"] * 2
    assert [record.state for record in records(results, 2).values()] == ["pruned", "skipped"]
    assert results.others[0].curve.keys() == {2}


def test_only_the_best_trials_checkpoints_are_kept_where_that_is_asked(tmp_path):
    do(tmp_path / "all", spec())
    assert len(list((tmp_path / "all").glob("trials/*/*/checkpoints"))) == 6
    do(tmp_path / "best", spec(keep="best"))
    kept = (tmp_path / "best").glob("trials/*/*/checkpoints")
    assert sorted(path.parent.parent.name for path in kept) == ["001", "001"]


def test_each_run_has_gpus_of_its_own_that_no_other_process_holds(tmp_path):
    machine = Machine(("0", "1", "2", "5"), 8)
    results = do(tmp_path, spec(gpus=2, workers=2), machine=machine)
    assert len(results.ranked) == 3
    for held, given in ((["0", "2"], [("1", "5")]), (["1"], [("0", "2")])):
        with Presence(tmp_path / "workers") as other, Presence(tmp_path / "workers") as presence:
            other.hold(held)
            store = work.open_store(tmp_path, spec(gpus=2), presence)
            assert [slot.gpus for slot in work._slots(store, machine)] == given
            assert presence.living()[presence.id]["gpus"] == list(given[0])
            other.hold(machine.gpus)
            with pytest.raises(ValueError, match="are held by this sweep already"):
                work._slots(store, machine)


def test_the_report_as_it_stands_and_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="holds no sweep yet"):
        report(tmp_path, spec())
    do(tmp_path, spec())
    assert report(tmp_path, read_spec(tmp_path)).over


@pytest.fixture
def holds(tmp_path):
    """A folder with a file for each run that is to wait; see stub_train.py."""
    folder = tmp_path / "holds"
    folder.mkdir()
    return folder


def test_a_sweep_that_was_stopped_and_killed_ends_as_one_that_was_not(tmp_path, holds):
    found = spec(
        search={"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}},
        **{"method": "tpe", "trials": 4, "prune": Prune(after=2)},
        base=BASE | {"held_at": 3, "holds": str(holds)},
    )
    (tmp_path / "spec.yaml").write_text(found.to_yaml())
    broken, whole, log = tmp_path / "broken", tmp_path / "whole", tmp_path / "log"
    words = ["tests/support/stubbed.py", str(broken), str(tmp_path / "spec.yaml")]
    first, second, third = (holds / name for name in ("000-seed-0", "001-seed-0", "002-seed-1"))
    for held in (first, second, third):
        held.touch()
    with started(words, log) as process:  # asked to stop
        until(lambda: lines(broken, "000/seed-0") >= 2, process, log)
        process.terminate()
        assert process.wait() == 4
    first.unlink()
    with started(words, log) as process:  # killed, with all that it started
        until(lambda: lines(broken, "001/seed-0") >= 2, process, log)
        kill(process)
    second.unlink()
    with started(words, log) as process:  # killed alone: the next one waits for the runs that it leaves behind
        until(lambda: lines(broken, "002/seed-1") >= 2, process, log)
        kill(process, alone=True)
        third.unlink()
        with started(words, log) as again:
            assert again.wait() == 0, log.read_text()
    do(whole, found)
    report(broken, found)  # with as many resamples
    assert figures(broken) == figures(whole)
    assert not any(outcome.startswith("failed") for outcome in outcomes(broken))
    assert "stopped by the sweep" in outcomes(broken)
    assert any(outcome.startswith("lost") for outcome in outcomes(broken))


def test_several_processes_share_a_sweep_and_do_no_run_twice(tmp_path, holds):
    found = spec(
        search={"learning_rate": [10.0**-n for n in range(1, 5)]},
        base=BASE | {"held_at": 1, "holds": str(holds)},
    )
    (tmp_path / "spec.yaml").write_text(found.to_yaml())
    (holds / "all").touch()
    words = ["tests/support/stubbed.py", str(tmp_path / "sweep"), str(tmp_path / "spec.yaml")]
    processes = [
        subprocess.Popen([sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        for _ in range(3)
    ]
    begun = (tmp_path / "sweep").glob
    assert patience.until(lambda: len(list(begun("trials/*/*.starts"))) > SETTLED["workers"])  # two processes' runs
    (holds / "all").unlink()
    assert [process.wait() for process in processes] == [0, 0, 0]
    starts = [path.read_text().splitlines() for path in (tmp_path / "sweep").glob("trials/*/*.starts")]
    assert len(starts) == 8 and all(len(each) == 1 for each in starts)
    results = report(tmp_path / "sweep", found)
    assert len(results.ranked) == 4
    workers = {record.attempts[0].worker for number in range(4) for record in records(results, number).values()}
    assert len(workers) > 1
