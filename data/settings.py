"""Reads a config's settings into a task's dataclass; an error names each unknown key or unfitting value."""

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, time
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
    date: "a date such as 2001-12-31",
    time: "a time such as '23:59'",
}

EXPONENT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def number_of(value: Any) -> Any:
    """The number in text such as `1e-4`, which YAML reads as text; any other value as it is."""
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def read_settings(where: str, kind: type, values: Mapping[str, Any]) -> Any:
    """The dataclass `kind` with these values. Raises ValueError naming `where.key` and what was expected."""
    hints = get_type_hints(kind)
    by_name = {field.name: field for field in fields(kind)}
    values = {key: _with_numbers(value, hints.get(key, Any)) for key, value in values.items()}
    for key, value in values.items():
        if key not in by_name:
            raise ValueError(f"Unknown setting {where}.{key}; expected one of: {', '.join(['weight', *by_name])}.")
        if not fits(value, hints[key]):
            raise ValueError(f"{where}.{key} is {value!r}; expected {described(hints[key])}.")
    for name, field in by_name.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in values:
            raise ValueError(f"{where}.{name} is missing; expected {described(hints[name])}.")
    return kind(**{key: _converted(value, hints[key]) for key, value in values.items()})


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML or JSON fits the declared type `hint`."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in inner)
    if origin is Literal:
        return value in inner
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (date, time):
        return isinstance(value, hint) or (isinstance(value, str) and _is_iso(value, hint))
    if hint in WORDS:
        return isinstance(value, hint)
    kind = origin or hint
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return isinstance(value, Mapping) and all(key in hints and fits(v, hints[key]) for key, v in value.items())
    if issubclass(kind, Mapping):
        fitting = inner or (Any, Any)
        return isinstance(value, Mapping) and all(fits(k, fitting[0]) and fits(v, fitting[1]) for k, v in value.items())
    if issubclass(kind, Enum):
        return value in [choice.value for choice in kind]
    if not (issubclass(kind, Collection) and isinstance(value, list | tuple)):
        return False
    if _is_row(kind, inner):
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not inner or all(fits(item, inner[0]) for item in value)


def described(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(described(choice) for choice in inner)
    if origin is Literal:
        return f"one of: {', '.join(map(str, inner))}"
    if hint in WORDS:
        return WORDS[hint]
    kind = origin or hint
    if is_dataclass(kind):
        return f"a mapping of {', '.join(field.name for field in fields(kind))}"
    if issubclass(kind, Mapping):
        return "a mapping" + (f" of {described(inner[0])} to {described(inner[1])}" if inner else "")
    if issubclass(kind, Enum):
        return f"one of: {', '.join(str(choice.value) for choice in kind)}"
    if _is_row(kind, inner):
        return f"a list of {len(inner)}: {', '.join(map(described, inner))}"
    return "a list" + (f", each {described(inner[0])}" if inner else "")


def _with_numbers(value: Any, hint: Any) -> Any:
    """A value with the numbers that it holds as text, where its type wants a number and takes no text."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType) and str not in inner:
        for choice in inner:
            value = _with_numbers(value, choice)
        return value
    if hint is float:
        return number_of(value)
    if isinstance(value, list) and inner:
        hints = inner if _is_row(origin, inner) else inner[:1] * len(value)
        return [_with_numbers(*pair) for pair in zip(value, hints, strict=True)] if len(hints) == len(value) else value
    if isinstance(value, Mapping) and len(inner) == 2:
        return {key: _with_numbers(item, inner[1]) for key, item in value.items()}
    return value


def _is_iso(text: str, kind: type[date] | type[time]) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_row(kind: Any, inner: tuple[Any, ...]) -> bool:
    """Whether a type is a tuple of so many: two or more types, each for one place."""
    return kind is tuple and len(inner) > 1 and Ellipsis not in inner


def _converted(value: Any, hint: Any) -> Any:
    """A fitting value in the declared type, where YAML has no such type."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (date, time) and isinstance(value, str):
        return kind.fromisoformat(value)
    if not isinstance(kind, type) or (isinstance(value, kind) and not isinstance(value, list)):
        return value
    if is_dataclass(kind) or issubclass(kind, Enum):
        return kind(**value) if is_dataclass(kind) else kind(value)
    if isinstance(value, list):
        items = [_converted(item, inner[0]) if inner and not _is_row(kind, inner) else item for item in value]
        return kind(items) if kind in (tuple, set, frozenset) else items
    return value
