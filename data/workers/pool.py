"""A pool of worker processes for code that may hang or eat all memory, such as symbolic mathematics.

Each worker answers one request at a time. One that takes too long is killed, by the kernel or by the pool: a signal
handler inside the process could not be relied on, for it runs neither off the main thread nor within one long operation
of C. The request gets an error for its reply, a new worker starts, and the pool continues.

Requests and replies are JSON lines over pipes: nothing that a worker sends is ever unpickled.
"""

import contextlib
import functools
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from data.workers.worker import MARK

START_SECONDS = 120.0  # for a worker's imports, on a busy machine or a slow disk
MAX_REPLY_BYTES = 2**20
CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Reply:
    """The value that the function returned; or, in `error`, why there is none, in a few words."""

    value: Any = None
    error: str | None = None


class WorkerPool:
    """Calls `target`, "package.module:function", in up to `workers` processes. Any thread may ask.

    The function takes one JSON value and returns one. No request may take more than `seconds` of processor time, nor
    five times that by the clock (`wall_seconds`), and no worker more than `memory_mib` of address space. Processes
    start with the first request, and end with the pool or with this process, even where that is killed. In a forked
    child the pool is empty and starts workers of its own. `environment` adds to the variables that the workers see.
    """

    def __init__(
        self,
        target: str,
        *,
        seconds: float,
        wall_seconds: float | None = None,
        memory_mib: int = 1024,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.target = target
        self.environment = dict(environment or {})
        self.seconds = seconds
        self.wall_seconds = wall_seconds or 5 * seconds
        self.memory_mib = memory_mib
        self.workers = workers or default_workers()
        self._empty()
        os.register_at_fork(after_in_child=functools.partial(_forked, weakref.ref(self)))

    def _empty(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[bytes, Future[Reply]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def ask(self, request: Any) -> Reply:
        """The reply to one request; waits for it."""
        return self.ask_all([request])[0]

    def ask_all(self, requests: Sequence[Any]) -> list[Reply]:
        """The replies to the requests, in order; all workers share the work."""
        self._start_threads()
        futures: list[Future[Reply]] = []
        for request in requests:
            futures.append(Future())
            self._jobs.put((json.dumps(request).encode() + b"\n", futures[-1]))
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the workers once they have finished their requests. A later request starts new ones."""
        with self._lock:
            threads, self._threads = self._threads, []
            for _ in threads:
                self._jobs.put(None)
        for thread in threads:
            thread.join()

    def _start_threads(self) -> None:
        """One thread for each worker, which lives as long as it: the kernel ends a worker with its thread."""
        with self._lock:
            while len(self._threads) < self.workers:
                thread = threading.Thread(target=self._serve, args=(self._jobs,), name="worker pool", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, jobs: "queue.SimpleQueue[tuple[bytes, Future[Reply]] | None]") -> None:
        place: _Place | None = None
        while job := jobs.get():
            line, future = job
            try:
                place = place or _Place(self)
                future.set_result(place.ask(line))
            except Exception as error:  # such as no process left: the caller must not wait for ever
                future.set_result(Reply(error=f"{type(error).__name__}: {error}"))
                if place:
                    place.close()
                place = None
        if place:
            place.close()


def _forked(pool: "weakref.ref[WorkerPool]") -> None:
    """Leave the workers to the parent; neither its threads nor the state of its locks came along."""
    if parent := pool():
        parent._empty()


class _Place:
    """One place in the pool: a keeper process (`data.workers.worker`), its pipes, and its current worker."""

    def __init__(self, pool: WorkerPool) -> None:
        self.target, self.memory_mib = pool.target, pool.memory_mib
        self.seconds, self.wall_seconds = pool.seconds, pool.wall_seconds
        self.worker: int | None = None  # its process id, once it is ready
        self.requests = 0  # requests so far; the last one's number stands before it, and in its reply
        self.buffer = bytearray()
        self.skipping = False  # until the end of a line whose beginning was dropped
        self.keeper = subprocess.Popen(
            [
                *(sys.executable, "-m", "data.workers.worker", self.target),
                *(str(self.memory_mib), str(self.seconds), str(os.getpid())),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
            | pool.environment,
        )
        assert self.keeper.stdin and self.keeper.stdout
        self.into, self.out = self.keeper.stdin.fileno(), self.keeper.stdout.fileno()
        os.set_blocking(self.into, False)
        os.set_blocking(self.out, False)

    def ask(self, line: bytes) -> Reply:
        """The reply to one request. Raises RuntimeError where the place is no more."""
        while self.worker is None:
            reply = self._exchange(b"", START_SECONDS)
            if reply is None or "failed" in reply:
                raise RuntimeError(f"no worker could be started for {self.target}: {(reply or {}).get('failed')}")
            self.worker = reply.get("worker")  # skipping the rest of the one before
        self.requests += 1
        try:
            reply = self._exchange(b"\n%b%d %b" % (MARK, self.requests, line), self.wall_seconds)
        except ValueError as endless:
            self._kill()
            return Reply(error=str(endless))
        if reply is None:
            self._kill()
            self.skipping, self.buffer = bool(self.buffer), bytearray()  # the beginning of a reply that came too late
            return Reply(error=f"timed out after {self.wall_seconds:g} s")
        if "ended" in reply:
            self.worker = None
            if reply["ended"] == -signal.SIGPROF:
                return Reply(error=f"timed out after {self.seconds:g} s of processor time")
            status = reply["ended"]
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            return Reply(error=f"the worker ended ({how})")
        if reply["last"]:
            self.worker = None
        error = reply.get("error")
        if error == "out of memory":
            error = f"ran out of memory (limit {self.memory_mib} MiB)"
        return Reply(reply.get("value"), error)

    def close(self) -> None:
        """Kill keeper and worker, and wait for the keeper."""
        if self.worker:
            self._kill()
        self.keeper.kill()
        self.keeper.wait()
        for pipe in (self.keeper.stdin, self.keeper.stdout):
            if pipe:
                pipe.close()

    def _kill(self) -> None:
        assert self.worker
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker, signal.SIGKILL)
        self.worker = None

    def _exchange(self, line: bytes, seconds: float) -> dict[str, Any] | None:
        """Write a line and read one; None where none comes in time. Raises ValueError for an endless line, and
        RuntimeError where the keeper has died.
        """
        deadline = time.monotonic() + seconds
        unsent = memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(self.out, selectors.EVENT_READ)
            if line:
                selector.register(self.into, selectors.EVENT_WRITE)
            while (message := self._message()) is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                for key, _ in selector.select(remaining):
                    if key.fd == self.out:
                        self._read()
                    else:
                        unsent = unsent[os.write(self.into, unsent[:CHUNK]) :]
                        if not unsent:
                            selector.unregister(self.into)
        return message

    def _message(self) -> dict[str, Any] | None:
        """The next whole message in the buffer that is not the reply to an earlier request.

        A request whose worker died before it read it is read by the next worker, and answered too late. Lines that are
        no message are the remains of killed workers.
        """
        while (end := self.buffer.find(b"\n")) >= 0:
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
            skipped, self.skipping = self.skipping, False
            if skipped or not line:
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict) and message.get("to", self.requests) == self.requests:
                return message
        return None

    def _read(self) -> None:
        """Read what has arrived; of a dropped line, only its end. Raises as `_exchange` does."""
        chunk = os.read(self.out, CHUNK)
        if not chunk:
            raise RuntimeError("the keeper of a worker died")
        if self.skipping and b"\n" not in chunk:
            return
        self.buffer += chunk
        if len(self.buffer) > MAX_REPLY_BYTES:
            _, end, self.buffer = self.buffer.partition(b"\n")
            self.skipping = not end
            raise ValueError(f"a reply of more than {MAX_REPLY_BYTES} bytes")


def default_workers() -> int:
    """The processors for this process: the machine's, divided among its ranks; at most 8."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(8, processors // ranks))
