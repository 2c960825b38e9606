"""Sampling in several processes."""

import os
import signal

import pyarrow.parquet as pq
import pytest

from eval.sampling.cache import SampleCache
from eval.sampling.candidate import FEW, load_candidate
from eval.sampling.workers import WorkerError, Workers
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling

PROMPTS = [[9, 12, 11], [9, 14], [9, 12, 11, 7]]
SAMPLING = Sampling(6, (2,), seed=3)
EACH = FEW // 2  # samples of a prompt: enough for processes to be started


@pytest.fixture(scope="module")
def workers():
    with Workers(2) as started:
        yield started


def test_the_samples_are_those_of_one_process(tmp_path, checkpoint, tiny_model, workers):
    expected = [rollout.token_ids for rollout in RolloutEngine(tiny_model).generate(PROMPTS, EACH, SAMPLING)]
    counted = []
    backend = load_candidate(str(checkpoint), tmp_path, workers=workers).backend
    found = backend.generate(PROMPTS, EACH, SAMPLING, counted.append)
    assert workers.started
    assert [rollout.token_ids for rollout in found] == expected
    assert sum(counted) == len(expected)


def test_what_fails_in_a_process_is_one_clear_line(tmp_path):
    with Workers(1) as alone, pytest.raises(WorkerError, match=r"failed: ModelError: .*not a checkpoint"):
        alone.draw(str(tmp_path), [[9]], [0], SAMPLING, print)


def test_a_full_disk_is_not_taken_for_a_process_that_is_gone(checkpoint):
    def full(place, rollout):
        raise OSError(28, "No space left on device")

    with Workers(1) as alive, pytest.raises(OSError, match="No space left on device"):
        alive.draw(str(checkpoint), [[9, 12]], [0], SAMPLING, full)


def test_a_process_that_dies_loses_nothing_that_had_come(tmp_path, checkpoint):
    came = []

    def draw_and_kill(prompts, numbers, sampling, finished):
        def kill_at_the_first(place, rollout):
            finished(place, rollout)
            came.append(place)
            os.kill(dying.started[0][0].pid, signal.SIGKILL)

        dying.draw(str(checkpoint), prompts, numbers, sampling, kill_at_the_first)

    with Workers(1) as dying, pytest.raises(WorkerError, match=r"is gone; .*What had come is kept"):
        SampleCache(draw_and_kill, tmp_path / "kept", "w").generate([[9, 12]], 4_000, SAMPLING)
    assert 0 < len(came) < 4_000
    assert pq.read_table(tmp_path / "kept").num_rows == len(came)


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_process_are_refused(count):
    with pytest.raises(ValueError, match=f"processes is {count}; expected a whole number, 1 or more"):
        Workers(count)
