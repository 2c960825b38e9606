"""Doing a sweep: as many threads as runs at once, each taking the next run, until nothing is left to do."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from data.terminal import say
from eval.sweep.ranking import measure
from eval.sweep.setup.check import Machine
from eval.sweep.setup.folder import locked
from eval.sweep.setup.spec import Spec
from eval.sweep.trials.outcome import Outcome, read_outcome
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.records import Attempt, Run, State, now
from eval.sweep.trials.store import Store
from eval.sweep.trials.tidy import keep_best
from eval.sweep.trials.trial_launch import Slot, command, decoding_command, launch
from eval.sweep.trials.trial_progress import Progress

IDLE = 2.0  # seconds before another look for work, or at how it goes
FULL = 5  # train's exit code where the disk is full: every further run would fail as well

Command = Callable[[Spec, Run, Slot], Sequence[str]]


class SweepStopped(Exception):
    """The work ended before the sweep did; the message says why and what to do. `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def work(folder: Path, spec: Spec, machine: Machine, should_stop: Callable[[], bool], words: Command = command) -> None:
    """Work on a sweep, alongside other workers, until all of it is over. Raises SweepStopped.

    `should_stop()` says whether to stop: its runs then finish their step and save. `words` gives a run's command.
    """
    with Presence(folder / "workers") as presence:
        store = open_store(folder, spec, presence)
        worker = Worker(store, should_stop, words)
        slots = _slots(store, machine)
        with ThreadPoolExecutor(len(slots), thread_name_prefix="slot") as pool:
            threads = [pool.submit(worker.serve, slot) for slot in slots]
            try:
                progress = Progress(store)
                while not all(thread.done() for thread in threads):
                    wait(threads, IDLE)
                    worker.broken |= any(thread.done() and thread.exception() for thread in threads)
                    progress.update()
                progress.close()
            finally:
                worker.broken = True  # else the pool would wait for threads that go on
        for thread in threads:
            thread.result()
        if worker.stopped is not None:
            raise worker.stopped


def open_store(folder: Path, spec: Spec, presence: Presence) -> Store:
    """The store of a sweep whose trials are judged by the spec's metric."""
    return Store(
        folder,
        spec,
        presence,
        value=lambda run: measure.value(run, spec),
        curve=lambda run: measure.curve(run, spec.metric),
    )


class Worker:
    """What the threads of one process share."""

    def __init__(self, store: Store, should_stop: Callable[[], bool], words: Command) -> None:
        self.store, self.words = store, words
        self.stopped: SweepStopped | None = None
        self.broken = False  # a thread has come down, so the others end too
        self._should_stop = should_stop
        self._full = False

    def stopping(self) -> bool:
        """Whether no more runs shall begin, and those that run shall end; `stopped` says why."""
        again = "The same command goes on."
        if self.stopped is None and self._should_stop():
            self.stopped = SweepStopped(f"Stopped, and the runs in hand are saved. {again}", 4)
        elif self.stopped is None and self.store.presence.buried.is_set():
            self.stopped = SweepStopped(f"Others took this process for dead and took over its runs. {again}", 1)
        elif self.stopped is None and self._full:
            self.stopped = SweepStopped(f"Stopped: a run could not be saved or resumed; mend that. {again}", 5)
        return self.broken or self.stopped is not None

    def serve(self, slot: Slot) -> None:
        """Take runs and do them until all are over."""
        while not self.stopping():
            run = self.store.take()
            if run is not None:
                self._do(run, slot)
            elif self.store.over(self.store.trials()):
                return
            else:
                time.sleep(IDLE)

    def _do(self, run: Run, slot: Slot) -> None:
        pruned = False

        def stop() -> bool:
            nonlocal pruned
            pruned = pruned or self.store.pruned(run)
            return pruned or self.stopping()

        began = now()
        result = launch(self.words(self.store.spec, run, slot), run, slot, stop)
        if self.store.spec.temperatures and result is not None and result[0] == 0:
            result = launch(decoding_command(self.store.spec, run), run, slot, self.stopping)
        state, outcome = self._come_to(run, result, pruned)
        attempt = Attempt(self.store.presence.id, began, now(), outcome.words, outcome.code, outcome.said)
        mine = self.store.finish(run, attempt, state)
        keep_best(self.store)
        if mine and attempt.failed:
            again = "to be tried again" if state == "waiting" else "given up"
            say(f"trial {run.trial}, seed {run.seed}: {outcome.words}; {again}. Its log: {run.log}")

    def _come_to(self, run: Run, result: tuple[int, str] | None, pruned: bool) -> tuple[State, Outcome]:
        """The state of the run after an attempt, and its outcome; a failure is retried as the spec says."""
        state: State = "pruned" if pruned else "waiting"
        if result is None:
            return state, Outcome(state, "stopped by the sweep before it began", 0, ())
        outcome = self._measured(run, read_outcome(*result))
        if outcome.state != "failed":
            return outcome.state, outcome
        if pruned or self.stopping():
            return state, replace(outcome, words="stopped by the sweep")
        if outcome.code == FULL:
            self._full = True
            return "waiting", outcome
        before = self.store.trials()[run.trial].runs[run.seed].attempts[:-1]
        enough = sum(attempt.failed for attempt in before) >= self.store.spec.retries
        return "failed" if enough else "waiting", outcome

    def _measured(self, run: Run, outcome: Outcome) -> Outcome:
        """A run that says that it is done must have been measured at its end."""
        if outcome.state == "done":
            try:
                self.store.value(run.folder)
            except ValueError as error:
                return replace(outcome, state="failed", words=f"failed: {error}")
        return outcome


def _slots(store: Store, machine: Machine) -> list[Slot]:
    """The shares of this machine: GPUs that no other process of the sweep holds here. Raises ValueError."""
    spec, presence = store.spec, store.presence
    # Settled before the sweep began.
    assert spec.workers is not None and spec.gpus is not None and spec.threads is not None
    if not spec.gpus:
        return [Slot(number, threads=spec.threads) for number in range(spec.workers)]
    with locked(store.folder):
        living = presence.living().values()
        busy = {gpu for record in living if record["machine"] == presence.machine for gpu in record["gpus"]}
        free = [gpu for gpu in machine.gpus if gpu not in busy]
        count = min(spec.workers, len(free) // spec.gpus)
        if not count:
            raise ValueError(f"All GPUs of this machine ({', '.join(machine.gpus)}) are held by this sweep already.")
        shares = [tuple(free[i * spec.gpus : (i + 1) * spec.gpus]) for i in range(count)]
        slots = [Slot(number, gpus, spec.threads) for number, gpus in enumerate(shares)]
        presence.hold([gpu for slot in slots for gpu in slot.gpus])
    return slots
