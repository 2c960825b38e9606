"""The rollouts that the page's explorer filters and shows, packed into one string that the browser inflates.

The columns are JSON, deflated and in base64. A thinking is its lines as `train.page.marks` lays them out, told apart
by control characters, which are taken out of what a model wrote: marks that stand in the text compress to almost
nothing.
"""

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.measures.behaviour import events
from eval.report.load import EXAMPLE_COLUMNS, Json, Run, ShownRow, read_rows, training_rollouts
from eval.table import short_names
from train.page.marks import Line, Piece, Reading, read

MOST = 100_000  # rollouts in one page
MOST_CHARACTERS = 60_000_000  # of all their texts: what a browser holds without effort

# A line begins with LINE, and has four fields; the last is text, in which a step stands
# between RIGHT and END, or between WRONG and END with its exact value after VALUE.
LINE, FIELD, RIGHT, WRONG, VALUE, END = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06"
MARKS = {ord(mark): "\ufffd" for mark in (LINE, FIELD, RIGHT, WRONG, VALUE, END)}

BEHAVIOURS: dict[str, Callable[[ShownRow, Reading], bool]] = {
    "corrected itself": lambda row, reading: (
        bool(row["correct"])
        and reading.trace.first_correct is False
        and any(attempt.correct for attempt in reading.trace.attempts)
    ),
    "went back": lambda row, reading: bool(reading.trace.backtracks),
    "took another approach": lambda row, reading: any(event.kind == "new approach" for event in events(reading.trace)),
    "slip repaired": lambda row, reading: reading.trace.repairs > 0,
    "set subgoals": lambda row, reading: bool(reading.trace.goals),
    "cut off": lambda row, reading: bool(row["truncated"]),
}


@dataclass(frozen=True, slots=True)
class Packed:
    """The rollouts of a page: `data` for the browser, and how many of how many they are, chosen in which way."""

    data: str
    count: int
    total: int
    choice: str = "evenly spaced"


def pack(run: Run, most: int = MOST) -> Packed:
    """Pack a run's rollouts: the samples of its evaluation, then those of training, evenly spaced where there are many.

    Raises ValueError where a file of rollouts cannot be read.
    """
    names = short_names([row["checkpoint"] for row in run.results["checkpoints"]]) if run.results else []
    samples = [
        (f"held-out{' greedy' * row['greedy']}, {name}", row)
        for name, rows in zip(names, run.samples, strict=True)
        for row in rows
    ]
    total = len(samples) + len(run.curves)
    room = min(most, _affordable(run, samples))
    samples = [samples[place] for place in _spread(len(samples), room)]
    trained = _trained(run, set(_spread(len(run.curves), room - len(samples))))
    return _packed([*samples, *trained], total)


def pack_newest(run: Run, most: int) -> Packed:
    """Pack the newest rollouts of training alone, the latest last; reads no more files than hold them."""
    rows: list[ShownRow] = []
    for path in sorted(run.folder.glob("rollouts.parquet/train-*.parquet"), reverse=True):
        rows = [*read_rows(path, EXAMPLE_COLUMNS).slice(0, most - len(rows)).to_pylist(), *rows]
        if len(rows) >= most:
            break
    return _packed(((f"RL step {row['step']}", row) for row in rows), len(run.curves), "the newest")


def _packed(rollouts: Iterable[tuple[str, ShownRow]], total: int, choice: str = "evenly spaced") -> Packed:
    columns = _columns(rollouts)
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    data = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return Packed(data, len(columns["flags"]), total, choice)


def _affordable(run: Run, samples: list[tuple[str, ShownRow]]) -> int:
    """How many rollouts have MOST_CHARACTERS, judged by the evaluation's samples and the first files of training."""
    lengths = [len(row["completion"]) for _, row in samples]
    for table in islice(training_rollouts(run), 10):
        lengths += pc.utf8_length(table["completion"]).to_pylist()
    return MOST_CHARACTERS * len(lengths) // max(1, sum(lengths))


def _spread(count: int, room: int) -> list[int]:
    """At most `room` places out of `count`, evenly spaced."""
    return np.linspace(0, count - 1, max(0, min(count, room)), dtype=int).tolist()


def _trained(run: Run, numbers: set[int]) -> Iterator[tuple[str, ShownRow]]:
    """The kept rollouts of training and of its validation, by their place in the order of the files."""
    first = 0
    for table in training_rollouts(run):
        own = [place for place in range(len(table)) if first + place in numbers]
        places = pa.array(own, pa.int64())  # typed, for none as well
        for row in table.take(places).to_pylist():
            yield f"{'RL' if row['split'] == 'train' else row['split']} step {row['step']}", row
        first += len(table)


def _columns(rollouts: Iterable[tuple[str, ShownRow]]) -> Json:
    origins, problems, reasons = _Numbered(), _Numbered(), _Numbered()
    names = ("origin", "problem", "flags", "thinking", "answering", "reason", "answer", "lines")
    columns: Json = {name: [] for name in names}
    for origin, row in rollouts:
        reading = read(row)
        flags = [bool(row["correct"]), *(applies(row, reading) for applies in BEHAVIOURS.values())]
        values = (
            origins[origin],
            problems[row["task"], row["prompt"]],
            sum(flag << place for place, flag in enumerate(flags)),
            row["thinking_tokens"],
            row.get("answer_tokens", -1),
            reasons[row["reason"]],
            reading.answer.translate(MARKS),
            packed_lines(reading),
        )
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return columns | {
        "origins": list(origins),
        "problems": [list(problem) for problem in problems],
        "reasons": list(reasons),
        "behaviours": list(BEHAVIOURS),
    }


class _Numbered(dict[Any, int]):
    """Values numbered in the order in which they are first asked for."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


def packed_lines(reading: Reading) -> str:
    """The lines of a thinking in one string; see LINE above."""
    lines = [_line(line) for line in reading.lines]
    if reading.unmarked:
        lines.append(FIELD.join(("", "", "", f"Not marked: {reading.unmarked}.".translate(MARKS))))
    return LINE.join(lines)


def _line(line: Line) -> str:
    head = f"{line.attempt[0]}{'+' if line.attempt[1].correct else '-'}" if line.attempt else ""
    return FIELD.join((head, line.redo, line.misjudged, "".join(map(_piece, line.pieces))))


def _piece(piece: Piece) -> str:
    text = piece.text.translate(MARKS)
    if piece.correct is None:
        return text
    return f"{RIGHT}{text}{END}" if piece.correct else f"{WRONG}{text}{VALUE}{piece.should_be}{END}"
