"""Sampling in several processes, each with one thread, for models too small to share a matrix product out.

The random numbers of a sample depend on its prompt and number alone, so the samples are those that one process draws.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType

import torch
from transformers.utils import logging

from eval.sampling.cache import OnRollout, Prompts
from train.model.loading import load_model
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling

FORK = get_context("forkserver")  # libraries are imported once, before there is a thread that a fork could lose
FORK.set_forkserver_preload([__name__])


class WorkerError(ValueError):
    """A worker process failed or ended; the message is one line."""


def default_count() -> int:
    """A process for each core that this one may use, up to eight; one where a GPU samples."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if torch.cuda.is_available() else min(8, cores)


class Workers:
    """`count` processes (default: `default_count`) that sample whichever model is asked for.

    They start when they are first needed, and end with the context, or with this process. Raises ValueError
    for a count below 1.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = default_count() if count is None else count
        if self.count < 1:
            raise ValueError(f"processes is {count}; expected a whole number, 1 or more.")
        self.started: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _, connection in self.started:
            connection.close()  # one that waits for work, or has a rollout to hand over, then ends by itself
        for process, _ in self.started:
            process.join()
        self.started.clear()

    def _start(self) -> None:
        while len(self.started) < self.count:
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self.started.append((process, ours))

    def draw(
        self, name: str, prompts: Prompts, numbers: Sequence[int], sampling: Sampling, on_rollout: OnRollout
    ) -> None:
        """Draw a sample of the model `name` for each prompt (see `eval.sampling.cache.Draw`). Raises WorkerError."""
        self._start()
        busy: dict[Connection, range] = {}
        for first, (_, connection) in enumerate(self.started):
            places = range(first, len(prompts), self.count)  # long and short ones alike for each
            with _alive(name):
                connection.send((name, [prompts[i] for i in places], [numbers[i] for i in places], sampling))
            busy[connection] = places
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                with _alive(name):
                    message = ready.recv()
                if isinstance(message, str):
                    raise WorkerError(f"A process that sampled {name} failed: {message}.")
                if message is None:
                    del busy[ready]
                else:
                    place, rollout = message
                    on_rollout(busy[ready][place], rollout)  # its errors, such as a full disk, are its own


@contextmanager
def _alive(name: str) -> Iterator[None]:
    """Raises WorkerError where the process at the other end has ended."""
    try:
        yield
    except (EOFError, OSError):
        raise WorkerError(
            f"A process that sampled {name} is gone; was memory short? What had come is kept: run the same command "
            "to go on, perhaps with --processes 1."
        ) from None


def _serve(connection: Connection) -> None:
    """The loop of a worker: answer each request by its rollouts as they end, then by None."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    while True:
        try:
            name, prompts, numbers, sampling = connection.recv()
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return
        try:
            _engine(name).generate(
                prompts, 1, sampling, sample_numbers=numbers, on_rollout=lambda *drawn: connection.send(drawn)
            )
            connection.send(None)
        except (ConnectionError, KeyboardInterrupt):  # the caller is gone
            return
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")


@lru_cache(maxsize=2)
def _engine(name: str) -> RolloutEngine:
    return RolloutEngine(load_model(name), trial=False)  # the caller has tried it
