"""Settings as a config gives them, read into a task's dataclass: each unknown or unfitting value is named."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SIMPLE = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}


def read_settings(where: str, kind: type, given: Mapping[str, Any]) -> Any:
    """A `kind`, a dataclass, of the values given. Raises ValueError naming `where.key` and what was expected."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"Unknown setting {where}.{key}; expected one of: {', '.join(['weight', *known])}.")
        if not fits(value, hints[key]):
            raise ValueError(f"{where}.{key} is {value!r}; expected {described(hints[key])}.")
    for name, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in given:
            raise ValueError(f"{where}.{name} is missing; expected {described(hints[name])}.")
    return kind(**{key: _converted(value, hints[key]) for key, value in given.items()})


def fits(value: Any, hint: Any) -> bool:
    """Whether a value out of YAML or JSON can stand where the type `hint` is declared."""
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
    if hint in SIMPLE:
        return isinstance(value, hint)
    kind = origin or hint
    if issubclass(kind, Mapping):
        fitting = inner or (Any, Any)
        return isinstance(value, Mapping) and all(fits(k, fitting[0]) and fits(v, fitting[1]) for k, v in value.items())
    if issubclass(kind, Enum):
        return value in [choice.value for choice in kind]
    if not (issubclass(kind, Collection) and isinstance(value, list | tuple)):
        return False
    if kind is tuple and inner and Ellipsis not in inner:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not inner or all(fits(item, inner[0]) for item in value)


def described(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(described(choice) for choice in inner)
    if origin is Literal:
        return f"one of: {', '.join(map(str, inner))}"
    if hint in SIMPLE:
        return SIMPLE[hint]
    kind = origin or hint
    if issubclass(kind, Mapping):
        return "a mapping" + (f" of {described(inner[0])} to {described(inner[1])}" if inner else "")
    if issubclass(kind, Enum):
        return f"one of: {', '.join(str(choice.value) for choice in kind)}"
    if kind is tuple and inner and Ellipsis not in inner:
        return f"a list of {len(inner)}: {', '.join(map(described, inner))}"
    return "a list" + (f", each {described(inner[0])}" if inner else "")


def _converted(value: Any, hint: Any) -> Any:
    """A fitting value in the declared type, where YAML has no such type."""
    kind = get_origin(hint) or hint
    if isinstance(kind, type) and isinstance(value, list) and kind in (tuple, set, frozenset):
        return kind(value)
    return kind(value) if isinstance(kind, type) and issubclass(kind, Enum) else value
