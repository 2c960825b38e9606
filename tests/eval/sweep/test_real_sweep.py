"""A real sweep of configs/ci.yaml, 6 trials with 2 seeds, killed midway and begun again, against one left alone.

TPE chooses its trials by the results so far, so a single figure that came out otherwise would change what is tried.
With 2 cores to itself it takes about 12 minutes; `-s` shows the table.
"""

import json
import shutil

import psutil
import pytest
from killing import figures, kill, lines, outcomes, started, until
from patience import PATIENCE

from train.config.parse import parse_config

pytestmark = pytest.mark.slow
SPEC = "configs/sweeps/ci.yaml"


def test_a_sweep_that_was_killed_midway_ends_with_the_same_ranking_as_one_that_was_not(tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = ["scripts/sweep.py", SPEC, "--folder"]
    log = tmp_path / "log"
    with started([*words, str(whole)], log) as process:
        assert process.wait() == 0, log.read_text()[-3000:]

    with started([*words, str(broken)], log) as process:  # the power goes: sweep, launchers and trainings
        until(lambda: lines(broken, "001/seed-0") > 80, process, log)  # in the midst of its RL
        kill(process)
    with started([*words, str(broken)], log) as process:  # the sweep alone dies: its trainings must end by themselves
        until(lambda: lines(broken, "003/seed-0") > 20, process, log)
        left = kill(process, alone=True)
        gone, alive = psutil.wait_procs(left, timeout=PATIENCE)
        assert not alive and len(gone) >= 3
    with started([*words, str(broken)], log) as process:
        assert process.wait() == 0, log.read_text()[-3000:]

    assert figures(broken) == figures(whole)
    assert sum(outcome.startswith("lost") for outcome in outcomes(broken)) >= 2
    assert set(outcomes(whole)) == {"done"}
    run, training = parse_config(["--config", str(broken / "best.yaml")])
    assert (run.name, training.max_steps) == ("ci-best", 40)
    with capsys.disabled():
        print("\n" + table(whole) + "\n" + table(broken))
    shutil.rmtree(whole)
    shutil.rmtree(broken)


def table(folder):
    """The ranking, for a person to compare."""
    found = json.loads((folder / "results.json").read_text())
    trials = {trial["trial"]: trial for trial in found["trials"]}
    rows = [f"{folder.name}: {found['verdict']}"]
    for number in found["ranking"]:
        trial = trials[number]
        seeds = [f"{seed['estimate']['value']:.4f}" for seed in trial["seeds"].values()]
        began = [len(seed["attempts"]) for seed in trial["seeds"].values()]
        rows.append(f"  trial {number}: {trial['estimate']['value']:.4f} of {seeds}, starts {began}, {trial['params']}")
    return "\n".join(rows)
