"""Reading a sweep's YAML file, and telling whether it is the one that a folder's sweep began with."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from data.paths import user_path
from eval.sweep.setup.space import MOST
from eval.sweep.setup.spec import FREE, Prune, Spec
from train.files.untrusted import read_yaml

STORED = "sweep.yaml"  # what a sweep's folder keeps
# What a spec may leave open, and is settled when its sweep begins.
SETTLED = ("startup", "at_once", "gpus", "threads")


def read_spec(path: Path) -> Spec:
    """Read a sweep's YAML file, or the one that a sweep's folder keeps. Raises ValueError with one clear line."""
    path = path / STORED if path.is_dir() else path
    content = _mapping(path)
    by_name = {f.name: f for f in fields(Spec)}
    if unknown := sorted(map(str, content.keys() - by_name.keys())):
        raise ValueError(
            f"{path} has an unknown field {unknown[0]}; expected some of: {', '.join(list(by_name)[:-1])}."
        )
    values = {"name": path.stem} | {name: value for name, value in content.items() if value is not None}
    for name, spec_field in by_name.items():
        if spec_field.default is MISSING and spec_field.default_factory is MISSING and name not in values:
            raise ValueError(f"{path} has no {name}: {spec_field.metadata['help']}")
    mappings = (values.get(name, {}) for name in ("set", "base"))
    if not isinstance(values["config"], str) or not all(isinstance(each, Mapping) for each in mappings):
        raise ValueError(f"{path}: config must be a path, and set and base mappings of fields.")
    values["base"] = values.get("base") or _mapping(user_path(values["config"]))
    return Spec(**{name: _converted(name, value) for name, value in values.items()})


def changed(before: Spec, now: Spec) -> list[str]:
    """The differences that are not allowed between the spec that a sweep began with and another, each in words."""
    now = replace(now, **{name: getattr(before, name) for name in SETTLED if getattr(now, name) is None})
    return [
        f"{name} was {getattr(before, name)!r} and is {getattr(now, name)!r}"
        for name in (f.name for f in fields(Spec))
        if name not in FREE and getattr(before, name) != getattr(now, name)
    ]


def _mapping(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {values!r}; expected a mapping of fields.")
    return values


def _converted(name: str, value: Any) -> Any:
    if name == "seeds":
        if type(value) is int and 0 < value <= MOST:
            return tuple(range(value))
        if not isinstance(value, list):
            raise ValueError(f"seeds is {value!r}; expected how many, or a list such as [0, 1, 2].")
        return tuple(value)
    if name == "temperatures":
        if not isinstance(value, list) or any(type(each) not in (int, float) for each in value):
            raise ValueError(f"temperatures is {value!r}; expected a list of numbers, such as [0, 0.3, 0.6, 1].")
        return tuple(map(float, value))
    if name == "launch":
        if not isinstance(value, list) or not all(isinstance(each, str | int | float) for each in value):
            raise ValueError(f"launch is {value!r}; expected a list of arguments, such as [--config_file, FILE].")
        return tuple(map(str, value))
    if name == "prune":
        names = [f.name for f in fields(Prune)]
        if not isinstance(value, Mapping) or value.keys() - set(names):
            raise ValueError(f"prune is {value!r}; expected a mapping with some of: {', '.join(names)}.")
        return Prune(**value)
    return str(value) if name in ("name", "metric") else value
