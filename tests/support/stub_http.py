"""A small HTTP server in this process, for clients of servers that are not ours."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub(BaseHTTPRequestHandler):
    """Replies, and logs nothing; a subclass has do_GET and do_POST."""

    protocol_version = "HTTP/1.1"
    url: str

    def body(self) -> Any:
        """The JSON of the request."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def reply(self, content: Any, code: int = 200, **headers: str) -> None:
        """Send bytes as they are, and anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(kind: type[Stub], **attributes: Any) -> Iterator[Any]:
    """A server that handles requests by a fresh subclass of `kind`, which has these attributes and its `url`."""
    handler: Any = type("Handler", (kind,), attributes)
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=lambda: running.serve_forever(0.01), daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{running.server_port}"
    yield handler
    running.shutdown()
    running.server_close()
    thread.join()
