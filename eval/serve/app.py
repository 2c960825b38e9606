"""The HTTP side: OpenAI's chat completions, models and health, and the chat page."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from eval.serve.batcher import Batcher, Busy, EngineFailed
from eval.serve.chat_answer import Answer, error_body, event
from eval.serve.chat_request import EFFORTS, ChatRequest, RequestError, read_body, read_chat_request
from eval.serve.marking import Marker
from eval.serve.served import Served
from train.page.html import environment
from train.rollout.session import Progress

MOST_BYTES = 4 * 2**20  # of a request: 65,536 tokens of conversation are some 300 kB
BODY_SECONDS = 30.0  # within which a request's body must arrive
HERE = Path(__file__).parent
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def make_app(served: Served, batcher: Batcher, *, body_seconds: float = BODY_SECONDS) -> Starlette:
    """The application over a running batcher."""
    pages = Pages(served)
    api = Api(served, batcher, body_seconds)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", api.chat, methods=["POST"]),
            Route("/v1/models", api.models),
            Route("/v1/models/{name:path}", api.model),
            Route("/health", api.health),
            Route("/", pages.chat),
            Route("/chat.js", pages.file("chat.js", "text/javascript")),
            Route("/chat.css", pages.file("chat.css", "text/css")),
            Route("/page/problem", pages.problem),
            Route("/page/marks", api.read(pages.marks), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error, RequestError: _request_error},
    )


class Api:
    """The routes for programs."""

    def __init__(self, served: Served, batcher: Batcher, body_seconds: float) -> None:
        self.served = served
        self.batcher = batcher
        self.body_seconds = body_seconds

    async def health(self, request: Request) -> Response:
        """200 while the engine's thread runs."""
        state = {"running": self.batcher.running, "requests": self.batcher.open}
        if self.batcher.failure is not None:
            return JSONResponse({"status": "failed", "reason": self.batcher.failure} | state, 503)
        return JSONResponse({"status": "ok"} | state)

    async def models(self, request: Request) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """The one model, by name."""
        if request.path_params["name"] != self.served.name:
            raise RequestError(f"There is no model {request.path_params['name']!r} here.", status=404)
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        return {
            "id": self.served.name, "object": "model", "created": 0, "owned_by": "rethink",
            "max_model_len": self.served.longest,
        }  # fmt: skip

    async def chat(self, request: Request) -> Response:
        """A chat completion, whole or as a stream."""
        body = await self._body(request)
        # Templates and tokenizers are slow on long conversations, and other requests must not wait for them.
        chat = await run_in_threadpool(read_chat_request, body, self.served)
        return await self._stream(chat) if chat.stream else await self._whole(request, chat)

    async def _stream(self, chat: ChatRequest) -> Response:
        exchange = Exchange(self.batcher, chat)  # before the response begins, so that a full server can still say so
        answer = Answer(chat, self.served)

        async def chunks() -> AsyncIterator[bytes]:
            with exchange:
                try:
                    for chunk in answer.opening():
                        yield chunk
                    while not answer.done:
                        for progress in await exchange.next():
                            for chunk in answer.chunks(progress):
                                yield chunk
                    for chunk in answer.closing():
                        yield chunk
                except EngineFailed as error:
                    yield event(error_body(str(error), "server_error"))

        return Abandonable(exchange, chunks(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _whole(self, request: Request, chat: ChatRequest) -> Response:
        answer = Answer(chat, self.served)
        with Exchange(self.batcher, chat) as exchange:

            async def collect() -> None:
                while not answer.done:
                    for progress in await exchange.next():
                        answer.take(progress)

            collecting = asyncio.ensure_future(collect())
            hung_up = asyncio.ensure_future(_hung_up(request))
            try:
                await asyncio.wait({collecting, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                if not collecting.done():
                    return Response(status_code=499)  # nobody reads it
                collecting.result()
            except EngineFailed as error:
                return JSONResponse(error_body(str(error), "server_error"), 500)
            finally:
                for task in (collecting, hung_up):
                    task.cancel()
        return JSONResponse(await run_in_threadpool(answer.whole))

    def read(self, handle: Callable[[dict[str, Any]], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """A route whose body is bounded in the same way."""

        async def route(request: Request) -> Response:
            return await handle(await self._body(request))

        return route

    async def _body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request, within its limits of size and time. Raises RequestError."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # and so no page of another site can ask without the browser's leave
            raise RequestError(f"Content-Type is {kind!r}; send application/json.", status=415)
        body = bytearray()
        try:
            async with asyncio.timeout(self.body_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise RequestError(f"The body has more than {MOST_BYTES:,} bytes.", status=413)
        except TimeoutError:
            raise RequestError(f"The body took more than {self.body_seconds:g} seconds.", status=408) from None
        except ClientDisconnect:
            raise RequestError("The client hung up.", status=499) from None
        return dict(read_body(bytes(body)))


class Exchange:
    """One request's place in the batch, until the context ends. Raises RequestError where there is none."""

    def __init__(self, batcher: Batcher, chat: ChatRequest) -> None:
        self._batcher = batcher
        self._events: asyncio.Queue[Progress | EngineFailed] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(news: Progress | EngineFailed) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is going down
                loop.call_soon_threadsafe(self._events.put_nowait, news)

        try:
            self._ticket = batcher.submit(chat.prompt, chat.samples, chat.sampling, deliver)
        except Busy as error:
            raise RequestError(str(error), status=429, code="server_busy") from None
        except EngineFailed as error:
            raise RequestError(str(error), status=503) from None

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Stop drawing for it, if it has not ended."""
        self._batcher.cancel(self._ticket)

    async def next(self) -> list[Progress]:
        """All updates since the last call, at least one. Raises EngineFailed."""
        news = [await self._events.get()]
        while not self._events.empty():
            news.append(self._events.get_nowait())
        progress = []
        for each in news:
            if isinstance(each, EngineFailed):
                raise each
            progress.append(each)
        return progress


class Abandonable(StreamingResponse):
    """A stream that closes its exchange when it ends, even where the client hung up before the first chunk."""

    def __init__(self, exchange: Exchange, *content: Any, **options: Any) -> None:
        super().__init__(*content, **options)
        self._exchange = exchange

    async def __call__(self, *connection: Any) -> None:
        """Send the stream."""
        try:
            await super().__call__(*connection)
        finally:
            self._exchange.abandon()


class Pages:
    """The routes for the browser."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.marker = Marker(served.source)
        settings = {
            "model": served.name,
            "longest": served.longest,
            "temperature": served.sampling.temperature,
            "showThinking": served.show_thinking,
            "budgets": served.thinking is not None,
            "efforts": list(EFFORTS),
            "problems": served.source is not None,
            "remembers": served.remembers,
            "system": served.system,
        }
        self._page = environment(HERE).get_template("chat.html").render(
            model=served.name, settings=json.dumps(settings)
        )  # fmt: skip

    async def chat(self, request: Request) -> Response:
        """The page."""
        return HTMLResponse(self._page, headers=POLICY)

    def file(self, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        """The route of a file that the page loads."""
        content = (HERE / name).read_bytes()

        async def route(request: Request) -> Response:
            return Response(content, media_type=kind, headers=POLICY | {"Cache-Control": "no-cache"})

        return route

    async def problem(self, request: Request) -> Response:
        """A held-out problem to ask."""
        problem = await run_in_threadpool(self.marker.offer)
        return JSONResponse(None if problem is None else {"prompt": problem.prompt, "task": problem.task})

    async def marks(self, body: dict[str, Any]) -> Response:
        """A finished completion, marked."""
        question, thinking, answer = (body.get(name) for name in ("question", "thinking", "answer"))
        if not (isinstance(question, str) and isinstance(thinking, str) and isinstance(answer, str)):
            raise RequestError("question, thinking and answer must be texts.")
        return JSONResponse(await run_in_threadpool(self.marker.mark, question, thinking, answer))


async def _hung_up(request: Request) -> None:
    """Return when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    if error.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse(error_body(str(error), kind, param=error.param, code=error.code), error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}."
    return JSONResponse(error_body(message, "invalid_request_error"), error.status_code)
