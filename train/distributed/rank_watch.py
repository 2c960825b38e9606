"""A process that dies must not leave the others waiting for it: they end within a minute, and say which one it was.

Left alone, a collective waits for its peers for half an hour. Each process beats in the launcher's key-value store and
watches the beats of the others from a thread of its own.
"""

import gc
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from itertools import count
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import PartialState
from torch.distributed import PrefixStore
from torch.distributed.distributed_c10d import _get_default_store

from data.terminal import say

EXIT_CODE = 6
PERIOD = 2.0  # seconds between beats
RELEASE = 0.5  # seconds for Gloo's threads to release what is over
SILENCE = 45.0  # seconds without a beat that count as death; a process on this machine is looked up at each beat


class RankWatch:
    """Beats for this process and ends it, with exit code 6, where another one died. Does nothing for one process."""

    def __init__(self) -> None:
        state = PartialState()
        self.rank, self.processes = state.process_index, state.num_processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="rank-watch")
        if self.processes > 1:
            launchers: Any = _get_default_store()
            self.store: Any = PrefixStore("rank-watch", launchers.clone())  # a connection of its own
            self.store.set_timeout(timedelta(seconds=SILENCE))
            self._beat(0)  # a process that dies from here on is known by its number
            self._thread.start()

    def leave(self) -> None:
        """This process ends in good order: the others need not follow it."""
        if self.processes > 1:
            self._over.set()
            self._thread.join()
            self.store.set(f"left/{self.rank}", "")
            # Gloo's threads must end before the interpreter does: one that still wanted it would abort the process.
            torch.distributed.destroy_process_group()
            # A thread of Gloo's that releases the last result holds the group's lock and waits for the interpreter, and
            # the collection of the group holds the interpreter and would wait for that lock, for ever.
            time.sleep(RELEASE)
            gc.collect()

    def explain(self, error: RuntimeError) -> None:
        """Called with an error of a collective: gives the watch the time to find who died; it then ends the process."""
        lost_rank = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        if lost_rank and self.processes > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher ends the others before they can report
            self._thread.join(SILENCE + 2 * PERIOD)

    def _watch(self) -> None:
        peers = [rank for rank in range(self.processes) if rank != self.rank]
        last_beats: dict[int, tuple[bytes, float]] = {}  # the last beat of each, and when it was first seen
        beats = count(1)
        while not self._over.wait(PERIOD):
            try:
                self._beat(next(beats))
                for rank in peers:
                    if self.store.check([f"beat/{rank}"]) and not self.store.check([f"left/{rank}"]):
                        self._judge(rank, self.store.get(f"beat/{rank}"), last_beats)
            except RuntimeError:  # torch's own class for a lost connection is one
                if not self._over.is_set():
                    _end("The launcher, or the process that kept its store, has died")

    def _beat(self, number: int) -> None:
        self.store.set(f"beat/{self.rank}", f"{socket.gethostname()} {os.getpid()} {number}")

    def _judge(self, rank: int, beat: bytes, beats: dict[int, tuple[bytes, float]]) -> None:
        now = time.monotonic()
        if rank not in beats or beats[rank][0] != beat:
            beats[rank] = beat, now
        host, pid, _ = beat.decode().split()
        if host == socket.gethostname() and not _runs(int(pid)):
            if not self.store.check([f"left/{rank}"]):  # it may have left since
                _end(f"The process of rank {rank} (pid {pid}) has died")
        elif now - beats[rank][1] > SILENCE:
            _end(f"The process of rank {rank} (pid {pid} on {host}) has not answered for {SILENCE:.0f} s")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _end(reason: str) -> NoReturn:
    say(f"error: {reason}, so this one ends too. --resume goes on from the last checkpoint.")
    os._exit(EXIT_CODE)
