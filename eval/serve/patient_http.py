"""uvicorn's HTTP with an end to its patience: a request's headers arrive within a time, or the connection is closed."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 30.0  # from the opening of the connection, or the end of the request before


class PatientHTTP(H11Protocol):
    """Closes a connection whose next request has not begun within HEADER_SECONDS, however slowly its bytes come.

    uvicorn itself waits for ever, so that a few thousand such connections would leave no file for others.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what has arrived."""
        super().handle_events()
        if self._answering:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """After a response the next request may take as long, what is left of the body before it included."""
        self._stop_waiting()
        super().on_response_complete()
        if not self._answering and not self.transport.is_closing():
            self._wait()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
