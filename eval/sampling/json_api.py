"""JSON over HTTP with an untrusted server: bounded in time and size, with retries where they may help."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import httpx

TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds; a long completion comes back in one piece
REPLY_SECONDS = 1800.0  # for a whole reply, however slowly it trickles
MOST_BYTES = 32 * 2**20  # of a reply: 65,536 tokens with their text are some 2 MB
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # the answers of a server that is busy or restarts
TRIES = 6
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
QUOTED = 200  # characters of a reply in an error
T = TypeVar("T")


class ServerError(ValueError):
    """The server could not be reached, or did not answer as it should; the message is one line."""


class JsonApi:
    """The API at `url`, such as `http://localhost:8000/v1`.

    A request that fails for a reason that may pass (busy, restarting, a broken connection) is sent again, after
    `pause(seconds)`. At most `connections` are open at once; `proxies` uses those of the environment. `hint` ends the
    error for a server that never answers.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        headers: Mapping[str, str] | None = None,
        proxies: bool = False,
        hint: str = "",
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url
        self._hint = hint
        self._pause = pause
        self._has_answered = False  # once; a server that was there may come back
        limits = httpx.Limits(max_connections=connections)
        self._client = httpx.Client(timeout=TIMEOUT, limits=limits, headers=headers, trust_env=proxies)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises ServerError."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._call_once(method, path, body)
            except _Passing as error:
                if attempt == TRIES:
                    raise ServerError(f"{error} Tried {TRIES} times.") from None
                self._pause(min(LONGEST_PAUSE, error.wait or 2.0 ** (attempt - 1)))

    def odd(self, path: str, reply: Any, expected: str) -> ServerError:
        """The error for a reply of another form."""
        return ServerError(
            f"{self.url}/{path} answered {quoted(repr(reply))}; expected {expected}, as OpenAI's API has it."
        )

    def _call_once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """One answer within REPLY_SECONDS. httpx bounds each read, and headers that trickle are many reads."""
        answer: Future[Any] = Future()

        def wait() -> None:
            try:
                answer.set_result(self._exchange(method, path, body))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=wait, daemon=True, name="json api").start()
        try:
            return answer.result(REPLY_SECONDS)
        except TimeoutError:
            raise _late(f"{self.url}/{path}") from None

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        place = f"{self.url}/{path}"
        try:
            with self._client.stream(method, place, json=body) as response:
                content = _content(place, response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            lasting = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.ConnectError)
            if lasting and not self._has_answered:
                raise ServerError(f"{self._no_answer(place, error)}{self._hint}") from None
            raise _Passing(self._no_answer(place, error)) from None
        self._has_answered = True
        if response.status_code != 200:
            said = content[:2000].decode(errors="replace")
            if response.has_redirect_location:
                said = f"it is at {response.headers['Location']}; give that address"
            refusal = f"{place} answered {response.status_code}: {quoted(said) or 'nothing more'}."
            if response.status_code not in PASSING:
                raise ServerError(refusal)
            delay = response.headers.get("Retry-After", "")
            raise _Passing(refusal, float(delay) if delay.isdecimal() and len(delay) < 6 else 0.0)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServerError(
                f"{place} did not answer with JSON ({type(error).__name__}: {quoted(str(error))}); give the address of "
                "a server of OpenAI's API."
            ) from None

    @staticmethod
    def _no_answer(place: str, error: Exception) -> str:
        return f"{place} did not answer ({type(error).__name__}: {quoted(str(error))})."


def at_once(ask: Callable[..., T | None], requests: Iterable[tuple[Any, ...]], most: int) -> Iterator[tuple[int, T]]:
    """The place and the answer of each request, as they come; `most` are under way at once.

    After a failure no more are sent, since they would fail too. Raises the first ServerError when the rest has come in.
    """
    failures: list[ServerError] = []

    def one(request: tuple[Any, ...]) -> T | None:
        try:
            return None if failures else ask(*request)
        except ServerError as error:
            failures.append(error)
            return None

    with ThreadPoolExecutor(most) as pool:
        places = {pool.submit(one, request): place for place, request in enumerate(requests)}
        for future in as_completed(places):
            if (answer := future.result()) is not None:
                yield places[future], answer
    if failures:
        raise failures[0]


def quoted(text: str) -> str:
    """A server's words for one line of an error: short, and without control characters."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 10 * QUOTED]).split())
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 3]}..."


def _content(place: str, response: httpx.Response) -> bytes:
    """A reply's body, within its limits of size and time. Raises ServerError."""
    deadline = time.monotonic() + REPLY_SECONDS
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MOST_BYTES:
            raise ServerError(f"{place} answered more than {MOST_BYTES:,} bytes, which no completion takes.")
        if time.monotonic() > deadline:
            raise _late(place)
    return bytes(content)


def _late(place: str) -> ServerError:
    return ServerError(f"{place} was still answering after {REPLY_SECONDS:g} seconds.")


class _Passing(Exception):
    """A failure that may pass, after `wait` seconds if the server says so."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
