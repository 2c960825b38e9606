"""SIGTERM and SIGINT, sent for real to a run in a process of its own."""

import os
import signal

import pytest
from resuming import SMALL, assert_same, in_child, launch, what_was_left, write_config

from train.files.checkpoints import fault
from train.lifecycle.callbacks import MetricsFile
from train.lifecycle.signals import ECHO, StopSignals


@pytest.fixture
def signalled(monkeypatch):
    """Run until a step of a phase is logged, send a signal to the process there, and go on to its end."""

    def run(config, number, phase, step):
        on_log, sent = MetricsFile.on_log, []

        def log_and_send(self, args, state, control, logs, **_):
            on_log(self, args, state, control, logs)
            if (self.phase, state.global_step) == (phase, step) and not sent:  # a step may log more than once
                sent.append(number)
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patched:
            patched.setattr(MetricsFile, "on_log", log_and_send)
            return in_child(lambda: launch(config, "--name", "broken"))

    return run


@pytest.mark.parametrize(
    ("number", "phase", "step", "saved"),
    [
        (signal.SIGTERM, "rl", 4, "checkpoint-4"),  # the log comes before the evaluation and the saving of its step
        (signal.SIGINT, "cold-start", 10, "cold-start-unfinished/checkpoint-10"),
    ],
)
def test_a_run_that_is_asked_to_stop_saves_says_so_and_goes_on_later(
    tmp_path, capfd, signalled, number, phase, step, saved
):
    config = write_config(tmp_path, cold_start_steps=12, save_steps=10, max_steps=10)
    assert signalled(config, number, phase, step) == 4
    said = capfd.readouterr().err
    assert f"{number.name}: stopping after this step" in said and "--resume goes on from it" in said
    assert fault(tmp_path / "broken" / "checkpoints" / saved) is None
    assert launch(config, "--name", "broken", "--resume") == 0
    assert launch(config, "--name", "whole") == 0
    assert_same(what_was_left(tmp_path / "broken", 10), what_was_left(tmp_path / "whole", 10))
    assert SMALL["eval_steps"] == 4  # so the first case was asked during the evaluation


def test_at_the_last_step_there_is_nothing_to_stop(tmp_path, signalled):
    config = write_config(tmp_path, max_steps=2, cold_start_steps=0)
    assert signalled(config, signal.SIGTERM, "rl", 2) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once_but_an_echo_of_the_first_does_not(number):
    def work(seconds_since_the_first):
        with StopSignals() as signals:
            os.kill(os.getpid(), number)
            signals.first -= seconds_since_the_first
            os.kill(os.getpid(), number)
        return 7

    assert in_child(lambda: work(ECHO + 1)) == 128 + number
    assert in_child(lambda: work(0)) == 7


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
