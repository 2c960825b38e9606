"""The settings that a sweep tries: for each field of the configuration a list of choices, or a range."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Params = dict[str, Any]  # field to what Optuna stores of its value: a number, a word, or JSON
MOST = 2_000  # values of a field that a grid tries, and settings of a sweep
EXACT = 2**53  # whole numbers beyond are not told apart everywhere
RANGE_KEYS = ("low", "high", "log", "step", "points")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched field: `choices`, or a range in which `points` are tried by a grid."""

    field: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    points: int | None = None

    @property
    def whole(self) -> bool:
        """Whether a range is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def distribution(self) -> BaseDistribution:
        """The dimension as Optuna knows it."""
        if self.choices:
            return CategoricalDistribution([_stored(choice) for choice in self.choices])
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def grid(self) -> list[Any]:
        """The values that a grid tries, as they are stored."""
        if self.choices:
            return [_stored(choice) for choice in self.choices]
        if self.points is not None:
            spacing = np.geomspace if self.log else np.linspace
            points = [float(f"{value:.6g}") for value in spacing(self.low, self.high, self.points)]
            if self.whole:
                return list(dict.fromkeys(round(value) for value in points))
            if len(set(points)) < len(points):
                raise ValueError(
                    f"search.{self.field} goes from {self.low} to {self.high}, where {self.points} points are not all "
                    "different to six digits; give fewer `points`, or a wider range."
                )
            return points
        if self.size == math.inf or self.log:
            raise ValueError(f"search.{self.field} is a range, and a grid tries some values: give `points` or `step`.")
        if self.size > MOST:
            raise ValueError(
                f"search.{self.field} has {self.size:,} values, and a grid tries {MOST:,} at most; give `points`, or a "
                "larger `step`."
            )
        return [_at(self.low, self.step or 1, i) for i in range(int(self.size))]

    @property
    def ends(self) -> list[Any]:
        """Every choice, or both ends of the range, as they are stored."""
        return self.grid if self.choices else [self.low, self.high]

    @property
    def size(self) -> float:
        """The number of values; infinite for a range of any numbers."""
        if self.choices:
            return len(self.choices)
        if self.whole or self.step:
            return _steps(self.low, self.high, self.step or 1) + 1
        return math.inf

    def value(self, stored: Any) -> Any:
        """The value for the configuration of a stored value."""
        return next((choice for choice in self.choices if _stored(choice) == stored), stored)


def read_space(search: Any) -> tuple[Dimension, ...]:
    """The dimensions of `search:`. Raises ValueError naming the field and what is wrong with it."""
    if not isinstance(search, Mapping) or not search:
        raise ValueError(
            f"search is {search!r}; expected fields with their choices or range, such as "
            "{learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}, num_generations: [8, 16]}."
        )
    return tuple(_dimension(str(field), values) for field, values in search.items())


def grid(space: tuple[Dimension, ...]) -> Iterator[Params]:
    """Every combination, the last field changing fastest."""
    for values in itertools.product(*(dimension.grid for dimension in space)):
        yield {dimension.field: value for dimension, value in zip(space, values, strict=True)}


def corners(space: tuple[Dimension, ...]) -> Iterator[Params]:
    """Settings that between them hold every choice and both ends of every range, to be looked at before any work."""
    first = {dimension.field: dimension.ends[0] for dimension in space}
    yield first
    for dimension in space:
        for value in dimension.ends[1:]:
            yield first | {dimension.field: value}


def size(space: tuple[Dimension, ...]) -> float:
    """The number of different settings."""
    return math.prod(dimension.size for dimension in space)


def show(params: Params) -> str:
    """A setting in words: `learning_rate 0.0003, num_generations 8`."""
    return ", ".join(f"{field} {show_value(value)}" for field, value in params.items())


def show_value(value: Any) -> str:
    """A value as short as it can be read."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _stored(choice: Any) -> Any:
    """Optuna keeps numbers, words and truth values; anything else as JSON."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _dimension(field: str, values: Any) -> Dimension:
    if isinstance(values, list):
        texts = [_stored(choice) for choice in values]
        if not texts or any(texts.count(choice) > 1 for choice in texts):
            raise ValueError(f"search.{field} is {values!r}; expected different choices, one at least.")
        return Dimension(field, choices=tuple(values))
    if not isinstance(values, Mapping) or not {"low", "high"} <= values.keys():
        raise ValueError(f"search.{field} is {values!r}; expected a list of choices, or a range {{low: 1, high: 8}}.")
    if unknown := sorted(values.keys() - set(RANGE_KEYS)):
        raise ValueError(f"search.{field} has an unknown {unknown[0]}; a range has: {', '.join(RANGE_KEYS)}.")
    low, high = (_number(f"search.{field}.{key}", values[key]) for key in ("low", "high"))
    log = values.get("log", False)
    if not low < high or (log and low <= 0):
        above = "0 < low < high, since it is on a log scale" if log else "low < high"
        raise ValueError(f"search.{field} goes from {low} to {high}; expected {above}.")
    if not isinstance(log, bool):
        raise ValueError(f"search.{field}.log is {log!r}; expected true or false.")
    step, points = (
        None if values.get(key) is None else _number(f"search.{field}.{key}", values[key]) for key in ("step", "points")
    )
    if step is not None and (log or step <= 0):
        raise ValueError(f"search.{field}.step is {step}; expected a number above 0, and no log scale beside it.")
    if points is not None and (not isinstance(points, int) or not 2 <= points <= MOST):
        raise ValueError(f"search.{field}.points is {points}; expected a whole number, 2 to {MOST:,}.")
    if step is not None and (high - low) / step > EXACT:
        raise ValueError(f"search.{field}.step is {step}, which makes more than {EXACT:,} values; give a larger one.")
    if step is not None:
        high = _at(low, step, _steps(low, high, step))  # the last value that the steps come to
    return Dimension(field, (), low, high, log, step, points)


def _at(low: float, step: float, count: int) -> float:
    """A value some steps above the lowest, to twelve digits: its sum in binary leaves something behind these."""
    value = low + count * step
    if isinstance(value, int) or not value:
        return value
    return round(value, 11 - math.floor(math.log10(max(abs(low), abs(value), step))))


def _steps(low: float, high: float, step: float) -> int:
    return math.floor((high - low) / step + 1e-9)


def _number(name: str, value: Any) -> Any:
    """A number; YAML reads `1e-4` as text."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -EXACT <= value <= EXACT:
        raise ValueError(f"{name} is {value!r}; expected a number, of at most {EXACT:,}.")
    return value
