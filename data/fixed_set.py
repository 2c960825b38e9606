"""A fixed set of problems out of a file or the hub: what its settings are, and how its rows become problems."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.problem import Problem
from data.rows import Row, read_rows
from data.task import Split
from data.terminal import say_once

MAX_PROMPT = 20_000  # characters


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """Where the problems come from, and which of them are taken."""

    source: str  # a .jsonl or .parquet file, a folder of them (train.jsonl, test.jsonl), or an id on the hub
    subset: str | None = None  # the configuration of a set on the hub, such as `main` of openai/gsm8k
    splits: dict[str, str] | None = None  # which split of the source serves as ours: {test: train}
    only: dict[str, list[Any]] | None = None  # rows whose column has one of these values: {level: [Level 1, Level 2]}
    rows: int | None = None  # at most so many of each split, from the first on
    faulty: Literal["refuse", "drop"] = "refuse"  # what to do about rows that make no problem

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows is {self.rows}; expected at least 1, or nothing for all of them.")


class Fault(ValueError):
    """A row that makes no problem; the message says why."""


def read_set(
    settings: SetSettings,
    columns: Collection[str],
    make: Callable[[Mapping[str, Any]], Problem],
    check: Callable[[Sequence[Problem]], Sequence[str | None]],
) -> dict[Split, list[Problem]]:
    """The problems of each split, each content once in a split; says on stderr how many, and what was left out.

    `make` turns a row into a problem or raises Fault; `check` says what is wrong with each of many problems, or None.
    Raises ValueError for the first faulty row, unless the settings say to drop those.
    """
    wanted = [*columns, *(settings.only or {})]
    read = read_rows(settings.source, dict.fromkeys(wanted), subset=settings.subset, splits=settings.splits)
    kept: dict[Split, list[Problem]] = {}
    told = []
    for split, rows in read.items():
        chosen = [row for row in rows if _is_wanted(row, settings.only)]
        if not chosen:
            raise ValueError(f"{settings.source} has no row in its {split} split with {settings.only}.")
        problems, faults, repeated = _problems(chosen[: settings.rows], make, check)
        if faults and settings.faulty == "refuse":
            raise ValueError(f"{faults[0]} Mend it, or set `faulty: drop` to leave such rows out ({len(faults)} here).")
        if not problems:
            raise ValueError(f"{settings.source} has no sound row in its {split} split. {faults[0]}")
        kept[split] = problems
        left_out = [f"{repeated} repeated"] * bool(repeated) + [f"{len(faults)} faulty"] * bool(faults)
        told.append(f"{len(problems)} {split}" + (f" ({', '.join(left_out)} left out)" if left_out else ""))
    say_once(f"Problems of {settings.source}: {', '.join(told)}.")
    return kept


def _problems(
    rows: Sequence[Row],
    make: Callable[[Mapping[str, Any]], Problem],
    check: Callable[[Sequence[Problem]], Sequence[str | None]],
) -> tuple[list[Problem], list[str], int]:
    """The sound problems, each content once; what is wrong with the other rows; and how many repeat another."""
    made: dict[str, tuple[Row, Problem]] = {}
    faults: list[str] = []
    repeated = 0
    for row in rows:
        try:
            problem = make(row.values)
            if not 0 < len(problem.prompt.strip()) <= MAX_PROMPT:
                raise Fault(f"its question has {len(problem.prompt)} characters; expected 1 to {MAX_PROMPT}.")
        except Fault as fault:
            faults.append(f"{row.where}: {fault}")
            continue
        repeated += problem.canonical in made
        made.setdefault(problem.canonical, (row, problem))
    sound = []
    for (row, problem), wrong in zip(made.values(), check([problem for _, problem in made.values()]), strict=True):
        if wrong is None:
            sound.append(problem)
        else:
            faults.append(f"{row.where}: {wrong}")
    return sound, faults, repeated


def text_of(values: Mapping[str, Any], column: str, longest: int, *, strip: bool = True) -> str:
    """The text in a column. Raises Fault where it is none, blank, or longer than `longest`."""
    value = values.get(column)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise Fault(f"its {column} is {str(value)[:80]!r}; expected a text.")
    if len(value) > longest:
        raise Fault(f"its {column} has {len(value)} characters; expected at most {longest}.")
    return value.strip() if strip else value


def content_of(text: str) -> str:
    """The text without what makes no other problem of it: its case and spaces."""
    return " ".join(text.casefold().split())


def _is_wanted(row: Row, only: Mapping[str, Sequence[Any]] | None) -> bool:
    return all(row.values.get(column) in values for column, values in (only or {}).items())
