"""Opens the socket of a server. Imports no torch, so that a server of pages alone starts at once."""

import importlib.util
import socket
from typing import Any

NEEDED = ("starlette", "uvicorn")


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
    """Where a browser finds what listens at `door`."""
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
