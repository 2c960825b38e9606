"""How a server is started, and its socket. Imports no torch: help and a server of pages alone come at once."""

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEEDED = ("starlette", "uvicorn")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Options:
    """How a checkpoint is served. `longest` is the most tokens of prompt and completion (None: the model's context)."""

    name: str = ""
    longest: int | None = None
    system: bool = True
    show_thinking: bool = True
    dtype: str = ""
    config: Path | None = None
    own_tasks: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """The address, and the limits: `rows` answers at once, and `waiting` requests beyond."""

    host: str = "127.0.0.1"
    port: int = 8000
    rows: int = 64
    waiting: int = 1024
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError naming the first value out of its range."""
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port is {self.port}; expected 0 to 65535.")
        if self.rows < 1 or self.waiting < 0:
            raise ValueError(f"--max-rows is {self.rows} and --max-waiting {self.waiting}; expected at least 1 and 0.")
        if self.cache_gib is not None and not self.cache_gib > 0:
            raise ValueError(f"--cache-gib is {self.cache_gib}; expected a number above 0.")


def refuse_missing() -> None:
    """Raise ValueError where the extra that serving needs is not installed."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"{missing[0]} is not installed, which serving needs; run: pip install -e '.[serve]' -c constraints.txt"
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; an IPv6 address may stand in brackets.

    Raises ValueError where the port is taken, or the address is not this machine's.
    """
    if not host:
        raise ValueError("--host is empty, which would listen to every network; say 0.0.0.0 where you mean that.")
    door = None
    try:
        family, address = _address(host.removeprefix("[").removesuffix("]"), port)
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(2048)
    except (OSError, UnicodeError) as error:
        if door:
            door.close()
        raise ValueError(
            f"{place(host, port)} cannot be listened at ({getattr(error, 'strerror', None) or error}); end what uses "
            "it, or take another with --port or --host (--port 0 takes a free one)."
        ) from None
    return door


def url(door: socket.socket) -> str:
    """The address for a browser of what listens at `door`."""
    return f"http://{place(*door.getsockname()[:2])}"


def place(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def own_names(host: str) -> list[str]:
    """The names in a request's Host that are this server's; any where it listens to more than this machine.

    A page elsewhere on the web can have its own name mean 127.0.0.1, and so read what only this machine should.
    """
    local = {"localhost", "127.0.0.1", "::1", "[::1]"}
    return ["localhost", "127.0.0.1", "[::1]"] if host.lower() in local else ["*"]


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The first of a host's addresses, those of IPv4 before those of IPv6. Raises OSError or UnicodeError."""
    every = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, *_, address = min(every, key=lambda each: each[0] != socket.AF_INET)
    return family, address
