"""Lines of JSON between the two sides of a trial, and the plain values in them.

Values that JSON does not have are marked (`pack`) and arrive as they were. An object of a class that the program made
never arrives: it could claim to be equal to anything.
"""

import json
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import CoroutineType, GeneratorType
from typing import Any, BinaryIO

MAX_LINE = 2**20
MAX_ITEMS = 100_000  # read from an iterator
MAX_DIGITS = 100_000  # of a whole number; Python's own bound, 4,300, is below the factorial of 2,000


PLAIN = (  # what leaves the sandbox; a coroutine is awaited there
    int, float, str, list, tuple, set, frozenset, deque, dict, bytes, bytearray, complex, Fraction, Decimal, range,
    datetime, date, time, timedelta, GeneratorType, CoroutineType,
)  # fmt: skip


class Lost(Exception):
    """The program is gone, or sent something that is not a reply."""


def receive(replies: BinaryIO) -> dict[str, Any]:
    """Read one line from the program. Raises Lost."""
    try:
        line = replies.readline(MAX_LINE + 1)
    except OSError:
        line = b""
    if not line:
        raise Lost("the program ended before its tests")
    if len(line) > MAX_LINE:
        raise Lost(f"the program returned more than {MAX_LINE} bytes")
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise Lost("the program gave no reply that can be read")
    return reply


def send(channel: BinaryIO, message: dict[str, Any]) -> None:
    """Write one line."""
    channel.write(json.dumps(message).encode() + b"\n")
    channel.flush()


def pack(value: Any) -> Any:
    """A plain value as JSON. Raises TypeError for any other."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple | set | frozenset | deque):
        kind = next(kind for kind in (tuple, set, frozenset, deque) if isinstance(value, kind))
        return {kind.__name__: [pack(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__: list(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, datetime | date | time):  # a datetime is a date
        name = next(kind.__name__ for kind in (datetime, date, time) if isinstance(value, kind))
        return {name: value.isoformat()}
    if isinstance(value, timedelta):
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, Fraction | Decimal):
        return {type(value).__name__: str(value)}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, Iterator):
        return {"iterator": [pack(item) for item in islice(value, MAX_ITEMS)]}
    if isinstance(value, KeysView | ValuesView | ItemsView):
        return {"list": [pack(item) for item in value]}
    raise TypeError(f"a value of type {type(value).__name__} cannot leave the sandbox; only plain values can")


KINDS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "bytes": bytes,
    "bytearray": bytearray,
    "complex": lambda parts: complex(*parts),
    "Fraction": Fraction,
    "Decimal": Decimal,
    "range": lambda parts: range(*parts),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "iterator": iter,
}


def unpack(packed: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(packed, list):
        return [unpack(item) for item in packed]
    if isinstance(packed, dict):
        [(kind, content)] = packed.items()
        return KINDS[kind](unpack(content))
    return packed


def holds_nan(packed: Any) -> bool:
    """Whether there is a NaN in a packed value."""
    if isinstance(packed, list):
        return any(map(holds_nan, packed))
    if isinstance(packed, dict):
        return any(
            (kind == "Decimal" and "nan" in str(content).lower()) or holds_nan(content)
            for kind, content in packed.items()
        )
    return isinstance(packed, float) and packed != packed


def lineage(error: BaseException) -> list[list[str]]:
    """The classes of an error by module and name, most specific first."""
    return [[kind.__module__, kind.__name__] for kind in type(error).__mro__]


def describe(error: BaseException) -> str:
    """The error in one line of bounded length."""
    return f"{type(error).__name__}: {error}"[:200]
