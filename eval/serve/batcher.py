"""The thread that owns the engine: requests join its running batch, and get their tokens as they are drawn."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.session import Progress, Session

_FAILURES = 3  # in a row without a step in between, after which the thread gives up
_log = logging.getLogger(__name__)


class EngineFailed(RuntimeError):
    """The engine stopped in the middle of a step; the message says why."""


class Busy(RuntimeError):
    """The server's queue is full."""


# Called from the engine's thread: with a step's additions, or with the reason why none will follow.
Deliver = Callable[[Progress | EngineFailed], None]


@dataclass(frozen=True, slots=True)
class _Submit:
    ticket: int
    prompt: Sequence[int]
    samples: int
    sampling: Sampling
    deliver: Deliver


@dataclass(frozen=True, slots=True)
class _Cancel:
    ticket: int


class Batcher:
    """Runs one session of `engine` in a thread of its own, from `start` to `close`.

    `sampling` has the stop ids and thinking tags of every request; `longest` is the most tokens of a prompt with its
    completion; at most `most_waiting` requests are taken beyond what runs.
    """

    def __init__(self, engine: RolloutEngine, sampling: Sampling, *, longest: int, most_waiting: int) -> None:
        self.engine = engine
        self.longest = longest
        self.failure: str | None = None  # why the thread gave up
        self.running = 0  # samples in the batch
        self._sampling = sampling
        self._most = engine.limits.max_rows + most_waiting
        self._tickets = count(1)
        self._orders: queue.SimpleQueue[_Submit | _Cancel | None] = queue.SimpleQueue()
        self._open: dict[int, _Submit] = {}  # by ticket; only the engine's thread removes ended ones
        self._closing = False
        self._ready = threading.Event()
        self._broken: Exception | None = None  # the error of opening the first session
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> "Batcher":
        """Open the session. Raises ValueError where the engine cannot hold a rollout of `longest` tokens."""
        self._thread.start()
        self._ready.wait()
        if self._broken is not None:
            raise self._broken
        return self

    @property
    def open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    def submit(self, prompt: Sequence[int], samples: int, sampling: Sampling, deliver: Deliver) -> int:
        """Request completions; returns the ticket for `cancel`. Raises Busy, or EngineFailed."""
        if self.failure is not None:
            raise EngineFailed(self.failure)
        if len(self._open) >= self._most:
            raise Busy(f"{len(self._open)} requests are under way or waiting, which is all that this server takes.")
        order = _Submit(next(self._tickets), prompt, samples, sampling, deliver)
        self._open[order.ticket] = order
        self._orders.put(order)
        return order.ticket

    def cancel(self, ticket: int) -> None:
        """Forget a request that nobody waits for any more. Does nothing for one that has ended."""
        self._orders.put(_Cancel(ticket))

    def close(self) -> None:
        """End the thread; running requests fail."""
        self._closing = True
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing and failures < _FAILURES:
            steps = 0
            try:
                with self.engine.session(self._sampling, longest=self.longest) as session:
                    self._ready.set()
                    self._serve(session)
                    steps = session.stats.steps
            except Exception as error:  # weights that give NaN, no memory left: those who wait must hear of it
                if not self._ready.is_set():
                    self._broken = error
                    self._ready.set()
                    return
                failures = 1 if steps else failures + 1
                _log.error("The engine failed: %s", error)
                self._fail(f"{type(error).__name__}: {error}")
        if not self._closing:
            self.failure = f"the engine failed {failures} times in a row and is given up; see the server's log"
        self._fail(self.failure or "the server is shutting down")

    def _serve(self, session: Session) -> None:
        numbers: dict[int, int] = {}  # groups by ticket
        tickets: dict[int, int] = {}
        while not self._closing:
            self._follow_orders(session, numbers, tickets)
            for progress in session.step():
                self._open[tickets[progress.group]].deliver(progress)
            for group in [group for group in tickets if not session.holds(group)]:
                ticket = tickets.pop(group)
                del numbers[ticket], self._open[ticket]
            self.running = session.running

    def _follow_orders(self, session: Session, numbers: dict[int, int], tickets: dict[int, int]) -> None:
        """Process the requests that came since the last step; wait for one if there is nothing to do."""
        while True:
            try:
                order = self._orders.get(block=not session.has_work and not self._closing)
            except queue.Empty:
                return
            if isinstance(order, _Submit) and order.ticket in self._open:  # else an engine that failed has dropped it
                try:
                    numbers[order.ticket] = session.submit(order.prompt, order.samples, order.sampling)
                    tickets[numbers[order.ticket]] = order.ticket
                except ValueError as error:
                    del self._open[order.ticket]
                    order.deliver(EngineFailed(str(error)))
            elif isinstance(order, _Cancel) and order.ticket in numbers:
                session.cancel(numbers[order.ticket])
                del tickets[numbers.pop(order.ticket)], self._open[order.ticket]
                self.running = session.running

    def _fail(self, reason: str) -> None:
        self.running = 0
        while self._open:
            _, order = self._open.popitem()
            order.deliver(EngineFailed(reason))
