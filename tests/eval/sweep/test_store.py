"""What is to be done next and what follows from what was done, whoever asks and wherever it was cut off."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from stubbed import spec

from eval.sweep.setup.folder import going_on, open_folder
from eval.sweep.setup.spec import Prune
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.records import Attempt
from eval.sweep.trials.store import LOST, Store

VALUES = {(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.6, (1, 1): 0.8, (2, 0): 0.1, (2, 1): 0.2}


class Sweep:
    """A sweep's folder, with any number of processes at work on it; `curves` is what the runs show."""

    def __init__(self, folder, **values):
        self.folder, self.curves = folder, {}
        self.spec = open_folder(folder, spec(**values))
        self.presences = []

    def process(self):
        presence = Presence(self.folder / "workers").__enter__()
        self.presences.append(presence)
        return Store(
            *(self.folder, self.spec, presence),
            value=lambda run: VALUES[int(run.parent.name), int(run.name[5:])],
            curve=lambda run: self.curves.get((int(run.parent.name), int(run.name[5:])), {}),
        )

    def die(self, store):
        """As a process that is killed: its file stays, and no such process lives."""
        store.presence.__exit__()
        self.presences.remove(store.presence)


@pytest.fixture
def sweep(tmp_path):
    made = []

    def make(**values):
        made.append(Sweep(tmp_path / "sweep", **values))
        return made[-1]

    yield make
    for each in made:
        for presence in each.presences:
            presence.__exit__()


def attempt(store, outcome="done"):
    return Attempt(store.presence.id, "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00", outcome)


def finish(store, run, state="done"):
    return store.finish(run, attempt(store), state)


def place(run):
    return run.trial, run.seed


def test_runs_are_given_out_in_order_and_never_twice(sweep):
    made = sweep()
    stores = [made.process() for _ in range(3)]

    def take_all(store):
        return [place(run) for run in iter(store.take, None)]

    with ThreadPoolExecutor(3) as pool:
        taken = [run for runs in pool.map(take_all, stores) for run in runs]
    assert sorted(taken) == [(trial, seed) for trial in range(3) for seed in (0, 1)]
    assert not stores[0].over(stores[0].trials())


def test_a_trial_is_told_its_mean_when_its_last_seed_is_done(sweep):
    store = sweep().process()
    for run in iter(store.take, None):
        assert finish(store, run)
    trials = store.trials()
    assert [trial.frozen.value for trial in trials] == pytest.approx([0.3, 0.7, 0.15])
    assert store.over(trials)


def test_the_config_of_a_trial_is_there_before_it_runs(sweep):
    run = sweep().process().take()
    assert "learning_rate: 0.0001" in run.config.read_text()


def test_the_runs_of_a_dead_process_are_taken_over_and_its_late_word_does_not_count(sweep):
    made = sweep()
    dead, alive = made.process(), made.process()
    run = dead.take()
    assert place(alive.take()) == (0, 1)
    made.die(dead)
    assert place(alive.take()) == place(run)
    assert [a.outcome for a in alive.trials()[0].runs[0].attempts] == [LOST, ""]
    assert not finish(dead, run, "failed")
    assert alive.trials()[0].runs[0].state == "running"


def test_after_a_failure_the_other_seeds_are_left_out_and_the_trial_can_be_taken_up_again(sweep):
    made = sweep()
    store = made.process()
    finish(store, store.take(), "failed")
    trial = store.trials()[0]
    assert trial.frozen.state == TrialState.FAIL and trial.runs[1].state == "skipped"
    while (run := store.take()) is not None:
        finish(store, run)
    assert store.over(store.trials())
    assert store.retry_failed() == 1
    assert [place(run) for run in iter(store.take, None)] == [(0, 0), (0, 1)]
    assert len(store.trials()) == 3 and len(store.trials()[0].runs[0].attempts) == 2


def test_a_guards_stop_is_no_failure_and_the_other_seeds_still_run(sweep):
    store = sweep().process()
    finish(store, store.take(), "guard")
    other = store.take()
    assert place(other) == (0, 1)
    finish(store, other)
    assert store.trials()[0].frozen.state == TrialState.PRUNED  # worse than all that are complete
    assert store.retry_failed() == 0


def test_a_trial_that_depends_on_others_waits_for_them(sweep):
    made = sweep(method="tpe", trials=3, at_once=2)
    store = made.process()
    taken = [run for run in iter(store.take, None)]
    assert [place(run) for run in taken] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for run in taken[2:]:
        finish(store, run)
    assert store.take() is None  # trial 2 is chosen by what trial 0 came to
    for run in taken[:2]:
        finish(store, run)
    assert place(store.take()) == (2, 0)


def test_the_settings_of_tpe_do_not_depend_on_what_finishes_first(sweep, tmp_path):
    def settings(folder, order):
        made = Sweep(folder, method="tpe", trials=6, startup=2, at_once=2, search={"x": {"low": 0.0, "high": 1.0}})
        store = made.process()
        store.value = lambda run: float(store.trials()[int(run.parent.name)].params["x"])
        running = []
        while not store.over(store.trials()):
            running += iter(store.take, None)
            finish(store, running.pop(order))
        made.die(store)
        return [trial.params for trial in store.trials()]

    assert settings(tmp_path / "a", 0) == settings(tmp_path / "b", -1)


def pruning(sweep, **values):
    """A sweep in which trial 0 is complete and trial 1 has begun; the first seed decides."""
    made = sweep(prune=Prune(after=1, **values), at_once=1)
    made.curves = {(0, 0): {2: 0.4, 4: 0.6, 8: 0.8}, (0, 1): {2: 0.3}}
    store = made.process()
    for _ in (0, 1):
        finish(store, store.take())
    run = store.take()
    assert place(run) == (1, 0) and store.take() is None  # the other seed waits for the verdict
    return made, store, run


def test_a_trial_is_pruned_by_the_curve_of_its_first_seed_and_its_others_do_not_run(sweep):
    made, store, run = pruning(sweep)
    made.curves[1, 0] = {2: 0.5}
    assert not store.pruned(run)
    made.curves[1, 0] |= {4: 0.3, 6: 0.9}
    assert store.pruned(run)
    finish(store, run, "pruned")
    trial = store.trials()[1]
    assert (trial.pruned_at, trial.curve, trial.runs[1].state) == (4, {2: 0.5, 4: 0.3}, "skipped")
    assert trial.frozen.state == TrialState.PRUNED
    assert place(store.take()) == (2, 0)


def test_a_curve_that_is_read_late_comes_to_the_same(sweep):
    made, store, run = pruning(sweep)
    made.curves[1, 0] = {2: 0.5, 4: 0.3, 8: 0.9}  # the run was over before anybody looked
    finish(store, run)
    assert store.trials()[1].pruned_at == 4 and store.trials()[1].frozen.state == TrialState.PRUNED


def test_the_last_step_decides_about_the_seeds_that_are_left(sweep):
    made, store, run = pruning(sweep)
    made.curves[1, 0] = {2: 0.5, 4: 0.7, 8: 0.7}
    finish(store, run)
    assert store.trials()[1].pruned_at == 8


def test_a_trial_that_is_whole_is_not_pruned(sweep):
    made = sweep(prune=Prune(after=1, seeds=2), at_once=1)
    made.curves = {(0, 0): {8: 0.8}, (0, 1): {8: 0.8}, (1, 0): {8: 0.1}, (1, 1): {8: 0.1}}
    store = made.process()
    for _ in range(4):
        finish(store, store.take())
    assert store.trials()[1].frozen.state == TrialState.COMPLETE


def test_the_mean_of_the_deciding_seeds_is_judged_when_all_have_come_to_a_step(sweep):
    made = sweep(prune=Prune(after=1, seeds=2), at_once=1)
    made.curves = {(0, 0): {2: 0.6, 8: 0.6}, (0, 1): {2: 0.6, 8: 0.6}}
    store = made.process()
    for _ in (0, 1):
        finish(store, store.take())
    first, second = store.take(), store.take()
    made.curves[1, 0] = {2: 0.1}
    assert not store.pruned(first)
    made.curves[1, 1] = {2: 0.9}
    assert store.pruned(second) and store.pruned(first)
    assert store.trials()[1].curve == {2: 0.5}


def test_a_kill_between_the_verdict_and_the_end_of_the_run_leaves_a_pruned_trial(sweep):
    made, store, run = pruning(sweep)
    made.curves[1, 0] = {2: 0.0}
    assert store.pruned(run)
    made.die(store)
    after = made.process()
    assert place(after.take()) == (2, 0)
    assert after.trials()[1].runs[0].state == "pruned" and after.trials()[1].frozen.state == TrialState.PRUNED


def test_a_folder_goes_on_with_its_own_sweep_only(tmp_path):
    began = open_folder(tmp_path / "sweep", spec())
    assert open_folder(tmp_path / "sweep", spec(at_once=7, retries=3)) == replace(began, retries=3)  # settled elsewhere
    with pytest.raises(ValueError, match="at_once was 2 and is 7"):  # but not where it is said
        going_on(tmp_path / "sweep", spec(at_once=7))
    assert going_on(tmp_path / "sweep", spec(at_once=None)) == began
    with pytest.raises(ValueError, match="began with another spec: seeds was"):
        open_folder(tmp_path / "sweep", spec(seeds=(0, 1, 2)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no sweep\.yaml"):
        open_folder(tmp_path / "other", spec())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        open_folder(tmp_path / "file" / "sweep", spec())
