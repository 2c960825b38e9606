"""Opens the socket of a server. Imports no torch, so that a server of pages alone starts at once."""

import importlib.util
import socket

NEEDED = ("starlette", "uvicorn")


def refuse_missing() -> None:
    """Raise ValueError where the extra that serving needs is not installed."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"{missing[0]} is not installed, which serving needs; run: pip install -e '.[serve]' -c constraints.txt"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ValueError where the port is in use, or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen(2048)
    except OSError as error:
        door.close()
        raise ValueError(
            f"{host}:{port} cannot be listened at ({error.strerror or error}); end what uses it, or take another with "
            "--port or --host (--port 0 takes a free one)."
        ) from None
    return door
