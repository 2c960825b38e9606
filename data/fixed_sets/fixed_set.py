"""A fixed set of problems from a file or the hub: its settings, and how its rows become problems."""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from data.fixed_sets.rows import Row, read_rows
from data.problem import Problem
from data.task import Split
from data.terminal import say_once

MAX_PROMPT = 20_000  # characters
MISSING = {"None", "null", "Null", "NULL", "nil", "<NA>", "NaT", "N/A", "n/a", "NA", "{}", "&nbsp;", "[object Object]"}
TO_BE_WRITTEN = {
    "tbd", "todo", "to be determined", "not available", "none given", "not given", "not provided", "no answer provided",
    "see solution", "see the solution", "see solution above", "see above", "see figure", "see diagram",
    "answers may vary", "answers vary", "answers will vary", "unknown", "not found", "notfound", "proof",
}  # fmt: skip
CHOICES = {"unknown", "not given", "not found"}  # of a multiple choice, where these words are answers
# What programs write for a number that is none, and spreadsheets for an error; "infinity" alone is a word for one.
NO_NUMBER = re.compile(
    r"[+-]?(?:nan|NaN|NAN|inf|Inf|INF|Infinity)(?:\.0)?\s*%?|[+-]infinity|-?1\.#(?:QNAN|SNAN|IND|INF)"
    r"|#(?:N/A|DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!)"
)
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """The source of the problems, and which of them are used."""

    source: str  # a .jsonl or .parquet file, a folder of them (train.jsonl, test.jsonl), or an id on the hub
    subset: str | None = None  # the configuration of a set on the hub, such as `main` of openai/gsm8k
    revision: str | None = None  # the commit, branch or tag of a set on the hub; the newest by default
    splits: dict[str, str] | None = None  # which split of the source serves as ours: {test: train}
    only: dict[str, list[Any]] | None = None  # rows whose column has one of these values: {level: [Level 1, Level 2]}
    rows: int | None = None  # at most this many of each split, from the first
    faulty: Literal["refuse", "drop"] = "refuse"  # what to do about faulty rows

    def __post_init__(self) -> None:
        """Raise ValueError naming the first setting out of its range."""
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows is {self.rows}; expected at least 1, or nothing for all of them.")


class Fault(ValueError):
    """A row that cannot become a problem; the message says why."""


def read_set(
    settings: SetSettings,
    columns: Collection[str],
    make: Callable[[Mapping[str, Any]], Problem],
    check: Callable[[Sequence[Problem]], Sequence[str | None]],
) -> dict[Split, list[Problem]]:
    """The problems of each split, without repeats. Reports on stderr how many there are, and what was left out.

    `make` turns a row into a problem or raises Fault; `check` says what is wrong with each of many problems, or None.
    Raises ValueError for the first faulty row, unless the settings say to drop those.
    """
    needs = [*columns, *(settings.only or {})]
    tables = read_rows(
        settings.source,
        dict.fromkeys(needs),
        subset=settings.subset,
        revision=settings.revision,
        splits=settings.splits,
    )
    by_split: dict[Split, list[Problem]] = {}
    summaries = []
    for split, rows in tables.items():
        selection = [row for row in rows if _is_wanted(row, settings.only)]
        if not selection:
            raise ValueError(f"{settings.source} has no row in its {split} split with {settings.only}.")
        problems, faults, repeats = _problems(selection[: settings.rows], make, check)
        if faults and settings.faulty == "refuse":
            raise ValueError(f"{faults[0]} Mend it, or set `faulty: drop` to leave such rows out ({len(faults)} here).")
        if not problems:
            raise ValueError(f"{settings.source} has no sound row in its {split} split. {faults[0]}")
        by_split[split] = problems
        left_out = [f"{repeats} repeated"] * bool(repeats) + [f"{len(faults)} faulty"] * bool(faults)
        summaries.append(f"{len(problems)} {split}" + (f" ({', '.join(left_out)} left out)" if left_out else ""))
    say_once(f"Problems of {settings.source}: {', '.join(summaries)}.")
    if line := _other_answers(by_split):
        say_once(f"warning: {settings.source}: {line}")
    return by_split


def _problems(
    rows: Sequence[Row],
    make: Callable[[Mapping[str, Any]], Problem],
    check: Callable[[Sequence[Problem]], Sequence[str | None]],
) -> tuple[list[Problem], list[str], int]:
    """The sound problems without repeats, the faults of the other rows in order, and the number of repeats."""
    faults: dict[int, str] = {}
    alike: dict[str, list[int]] = {}  # rows by the content of their problem
    by_row: dict[int, Problem] = {}
    for at, row in enumerate(rows):
        try:
            by_row[at] = _problem(row, make)
            alike.setdefault(by_row[at].canonical, []).append(at)
        except Fault as fault:
            faults[at] = row.fault or f"{row.where}: {fault}"
    for group in alike.values():
        faults |= _conflicts(group, rows, by_row)
    firsts = [group[0] for group in alike.values() if group[0] not in faults]
    repeats = sum(len(group) - 1 for group in alike.values() if group[0] not in faults)
    for at, wrong in zip(firsts, check([by_row[at] for at in firsts]), strict=True):
        if wrong is not None:
            faults[at] = f"{rows[at].where}: {wrong}"
    return [by_row[at] for at in firsts if at not in faults], [faults[at] for at in sorted(faults)], repeats


def _problem(row: Row, make: Callable[[Mapping[str, Any]], Problem]) -> Problem:
    """The problem in a row. Raises Fault, whatever is wrong with the row."""
    if row.fault:
        raise Fault(row.fault)
    try:
        problem = make(row.values)
        if not 0 < len(problem.prompt.strip()) <= MAX_PROMPT:
            raise Fault(f"its question has {len(problem.prompt)} characters; expected 1 to {MAX_PROMPT}.")
        json.dumps(problem.facts, ensure_ascii=False, allow_nan=False).encode()  # as runs and splits will want them
        problem.canonical.encode()
    except Fault:
        raise
    except Exception as error:  # such as values that nobody foresaw: the row is at fault all the same
        raise Fault(f"it makes no problem: {type(error).__name__}: {str(error)[:200]}.") from error
    return problem


def _conflicts(group: Sequence[int], rows: Sequence[Row], by_row: Mapping[int, Problem]) -> dict[int, str]:
    """Faults of rows that ask the same question and disagree on its answer: nobody knows which is right."""
    first = group[0]
    for at in group[1:]:
        for name, fact in by_row[first].facts.items():
            if not _is_same(fact, by_row[at].facts.get(name)):
                wrong = (
                    f"{_short(fact)} in {rows[first].where}, {_short(by_row[at].facts.get(name))} in {rows[at].where}"
                )
                return {
                    one: f"{rows[one].where}: the same question has other {name} elsewhere: {wrong}." for one in group
                }
    return {}


def _other_answers(by_split: Mapping[Split, Sequence[Problem]]) -> str | None:
    """What to say of questions that have another answer in another split: one of the two is wrong."""
    first: dict[str, tuple[Split, Problem]] = {}
    differing = []
    for split, problems in by_split.items():
        for problem in problems:
            other_split, other = first.setdefault(problem.canonical, (split, problem))
            facts = ((other.facts.get(name), fact) for name, fact in problem.facts.items())
            if unlike := next((pair for pair in facts if not _is_same(*pair)), None):
                says = f"{_short(unlike[0])} in {other_split}, {_short(unlike[1])} in {split}"
                differing.append(f"{_short(problem.prompt)}: {says}")
    if not differing:
        return None
    return f"{len(differing)} of its questions have another answer in another split; the first is {differing[0]}."


def _is_same(fact: Any, other: Any) -> bool:
    """Whether two facts are equal apart from spaces, or equal as numbers."""
    if not (isinstance(fact, str) and isinstance(other, str)):
        return bool(fact == other)
    if fact.split() == other.split():
        return True
    try:
        return Decimal(fact) == Decimal(other)
    except InvalidOperation:
        return False


def _short(fact: Any) -> str:
    return repr(fact if len(str(fact)) <= 80 else f"{str(fact)[:80]}...")


def text_of(values: Mapping[str, Any], column: str, longest: int, *, strip: bool = True, choice: bool = False) -> str:
    """The text in a column, or its number as text. A `choice` may be one of CHOICES.

    Raises Fault for anything else, for blank text, for more than `longest` characters, and for a missing value.
    """
    return _text(values.get(column), f"its {column}", longest, strip=strip, choice=choice)


def texts_of(values: Mapping[str, Any], column: str, longest: int) -> list[str]:
    """The texts of a list in a column, or its numbers as text; blanks at their ends stay.

    Raises Fault where it is not a list, is empty, or holds something that is not text (`text_of`).
    """
    cell = values.get(column)
    if not isinstance(cell, list) or not cell:
        raise Fault(f"its {column} is {_shown(cell)}; expected a list of texts.")
    what = f"in its {column}, entry"
    return [_text(value, f"{what} {at}", longest, strip=False) for at, value in enumerate(cell, start=1)]


def stands_for_nothing(text: str) -> bool:
    """Whether programs write this text for a missing value."""
    text = text.strip()
    return text in MISSING or text.rstrip(".").lower() in TO_BE_WRITTEN or NO_NUMBER.fullmatch(text) is not None


def _text(value: Any, what: str, longest: int, *, strip: bool, choice: bool = False) -> str:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if not isinstance(value, int) and not math.isfinite(value):  # a whole number may be beyond every float
            raise Fault(f"{what} is {value}; expected a text, or a number that is finite.")
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise Fault(f"{what} is {_shown(value)}; expected a text.")
    if stands_for_nothing(value) and not (choice and value.strip().lower() in CHOICES):
        raise Fault(f"{what} is {value.strip()!r}, which stands for a value that is missing.")
    if len(value) > longest:
        raise Fault(f"{what} has {len(value)} characters; expected at most {longest}.")
    if (half := SURROGATE.search(value)) is not None:
        raise Fault(f"{what} has {half[0]!r} at character {half.start() + 1}, half of a pair that is no character.")
    return value.strip() if strip else value


def _shown(value: Any) -> str:
    """A value in a fault, as JSON names it where it is none."""
    return "null" if value is None else repr(str(value)[:80])


def content_of(text: str) -> str:
    """The text without case and spaces, which make no different problem."""
    return " ".join(text.casefold().split())


def _is_wanted(row: Row, only: Mapping[str, Sequence[Any]] | None) -> bool:
    """Whether a row is selected. An unreadable row is, so that it gets reported."""
    return row.fault is not None or all(row.values.get(column) in values for column, values in (only or {}).items())
