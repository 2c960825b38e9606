"""Rows of a fixed set of problems, from a local JSONL or parquet file, a folder of them, or the Hugging Face hub."""

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from data.paths import user_path
from data.task import Split
from data.terminal import first_line

MAX_ROWS = 1_000_000  # of one split
MAX_BYTES = 2**32  # of the columns read of one split, unpacked
MAX_LINE = 2**20  # characters of one row of a JSONL file
MAX_LINE_BYTES = 4 * MAX_LINE
SUFFIXES = (".jsonl", ".parquet")
SPLITS: tuple[Split, ...] = get_args(Split)


class NotAtHand(ValueError):
    """A data set on the hub that this machine cannot load."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and its place in the source. `fault` says why the row has no values; None where it has some."""

    where: str
    values: Mapping[str, Any]
    fault: str | None = None


def read_rows(
    source: str,
    columns: Collection[str],
    *,
    subset: str | None = None,
    revision: str | None = None,
    splits: Mapping[str, str] | None = None,
) -> dict[Split, list[Row]]:
    """The rows of each of our splits, with the columns asked for.

    `splits` maps a split of the source to one of ours (`{"test": "train"}`). By default splits map by name, and a
    single split is `train`. Raises ValueError naming what is missing, and what there is.
    """
    tables = _local(user_path(source)) if _is_local(source) else _of_hub(source, subset, revision=revision)
    by_split: dict[Split, list[Row]] = {}
    for ours, theirs in _choose(source, splits, tables).items():
        where = f"{source}, split {theirs}" if len(tables) > 1 or not _is_local(source) else source
        by_split[ours] = list(islice(_rows(tables[theirs], where, columns), MAX_ROWS + 1))
        if len(by_split[ours]) > MAX_ROWS:
            raise ValueError(f"{where} has more than {MAX_ROWS} rows; take a part of it.")
        if not by_split[ours]:
            raise ValueError(f"{where} is empty; expected one row a problem.")
        sound = [row.values for row in by_split[ours] if row.fault is None]
        if sound:  # a row may lack a column, but not all of them
            _check_columns(where, columns, dict.fromkeys(key for values in sound for key in values))
    return by_split


def stream_rows(source: str, columns: Collection[str], *, subset: str | None = None, split: str) -> Iterator[Row]:
    """Yield the rows of one split, with the existing ones of `columns`; a set on the hub is not downloaded whole.

    A single split is used whatever its name. Raises ValueError naming what is missing.
    """
    splits = _local(user_path(source)) if _is_local(source) else _of_hub(source, subset, streaming=True)
    if split not in splits and len(splits) > 1:
        raise ValueError(f"{source} has the splits {', '.join(splits)}, and split is {split}; name one of them.")
    table = splits.get(split) or next(iter(splits.values()))
    if isinstance(table, Path):
        names = _columns_of(table, columns) if table.suffix == ".parquet" else columns
        for row in _rows(table, str(table), names):
            yield Row(row.where, {key: row.values[key] for key in columns if key in row.values}, row.fault)
        return
    where = f"{source}, split {split}"
    number = 0
    try:
        for number, values in enumerate(table, start=1):
            yield Row(f"{where}, row {number}", {key: values[key] for key in columns if key in values})
    except Exception as error:  # of the network, the format, or a script
        raise ValueError(f"{where}, row {number + 1} cannot be read: {type(error).__name__}: {error}.") from None


def _columns_of(path: Path, columns: Collection[str]) -> list[str]:
    """Those of `columns` that a parquet file has. Raises ValueError where it has none of them."""
    try:
        there = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as parquet: {_one_line(error)}.") from None
    present = [column for column in columns if column in there]
    if not present:
        raise ValueError(f"{path} has none of the columns {', '.join(columns)}; it has: {', '.join(there) or 'none'}.")
    return present


def _one_line(error: Exception) -> str:
    """The words of an error without line breaks and the full stop at their end."""
    return " ".join(str(error).split()).rstrip(". ")


def _is_local(source: str) -> bool:
    return user_path(source).exists() or source.endswith(SUFFIXES) or source.startswith((".", "/", "~"))


def _local(path: Path) -> dict[str, Any]:
    """The files of a source by split: one file is `train`; in a folder each file is the split of its name."""
    if path.is_file() and path.suffix in SUFFIXES:
        return {"train": path}
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
        files = {file.stem: file for file in found}
        if twice := next((file for file in found if files[file.stem] != file), None):
            raise ValueError(
                f"{path} has {twice.name} and {files[twice.stem].name}; either might be meant, so move one."
            )
        if files:
            return files
    kind = "is not" if path.exists() else "does not exist; expected"
    raise ValueError(f"The source {path} {kind} a .jsonl or .parquet file, or a folder of them (train.jsonl, ...).")


def _of_hub(source: str, subset: str | None, **how: Any) -> dict[str, Any]:
    """The splits of a set on the hub, or in its cache on this machine."""
    import datasets  # takes a second to import, and only this function needs it

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # about its retries; the error below says how they ended
    try:
        return dict(datasets.load_dataset(source, subset, **how))
    except Exception as error:
        first = first_line(error).rstrip(".")
        which = f"{source}, {subset}," if subset else source
        raise NotAtHand(
            f"The data set {which} cannot be loaded: {first}. Expected a .jsonl or .parquet file, a folder of them, or "
            "an id on the Hugging Face hub; for a machine without network, download it elsewhere and name its file."
        ) from None
    finally:
        logger.setLevel(level)


def _choose(source: str, splits: Mapping[str, str] | None, there: Mapping[str, Any]) -> dict[Split, str]:
    """The split of the source for each of ours."""
    if splits is None:
        splits = {split: split for split in SPLITS if split in there}
        if not splits and len(there) == 1:
            splits = {"train": next(iter(there))}
    unknown = [f"{ours}: {theirs}" for ours, theirs in splits.items() if ours not in SPLITS or theirs not in there]
    if unknown or not splits:
        raise ValueError(
            f"{source} has the splits {', '.join(there)}, and splits is {{{', '.join(unknown)}}}; expected which of "
            f"them serve as {', '.join(SPLITS)}, such as splits: {{train: {next(iter(there))}}}."
        )
    return {split: splits[split] for split in SPLITS if split in splits}


def _rows(table: Any, where: str, columns: Collection[str]) -> Iterator[Row]:
    if isinstance(table, Path) and table.suffix == ".jsonl":
        return _of_jsonl(table)
    if isinstance(table, Path):
        return _of_parquet(table, where, columns)
    return _of_dataset(table, where, columns)


def _of_dataset(dataset: Any, where: str, columns: Collection[str]) -> Iterator[Row]:
    _check_columns(where, columns, dataset.column_names)
    number = 0
    try:
        for number, values in enumerate(dataset.select_columns(list(columns)), start=1):
            yield Row(f"{where}, row {number}", values)
    except (ValueError, TypeError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{where}, row {number + 1} cannot be read: {error}.") from None


def _check_columns(where: str, columns: Collection[str], there: Iterable[str]) -> None:
    there = list(there)
    if missing := [column for column in columns if column not in there]:
        raise ValueError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has: {', '.join(there) or 'none'}. Name the "
            "columns to read in the settings of the task."
        )


def _of_jsonl(path: Path) -> Iterator[Row]:
    try:
        with path.open("rb") as lines:
            number, rows, size = 0, 0, 0
            while line := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # some programs begin a UTF-8 file with it
                while line[-1:] != b"\n" and (rest := lines.readline(MAX_LINE_BYTES)):  # the rest of one too long
                    size += len(rest)
                    _check_size(path, size)
                    line = line[:MAX_LINE_BYTES] + b"?" + rest[-1:]
                size += len(line)
                _check_size(path, size)
                if not line.strip():
                    continue
                rows += 1
                where = f"{path}, row {rows}"
                try:
                    yield Row(where, _values(line))
                except Unreadable as reason:
                    yield Row(where, {}, f"{path}, line {number} {reason}.")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None


class Unreadable(Exception):
    """A line that is not a row; the message says why."""


def _values(line: bytes) -> dict[str, Any]:
    """The row in a line of a JSONL file. Raises Unreadable."""
    try:
        text = line.rstrip(b"\r\n").decode()
        if len(text) > MAX_LINE:
            raise Unreadable(f"is longer than {MAX_LINE} characters")
        row = json.loads(text, object_pairs_hook=_object, parse_float=_float)
    except UnicodeDecodeError as error:
        raise Unreadable(f"is no UTF-8: {error.reason} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"is no JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise Unreadable("is nested too deep to be read") from None
    except ValueError as error:  # of whole numbers, which Python reads up to some thousand digits
        raise Unreadable(f"cannot be read: {str(error).partition(';')[0]}") from None
    if not isinstance(row, dict):
        raise Unreadable(f"is {text.strip()[:80]!r}; expected a JSON object")
    return row


def _float(text: str) -> float | Decimal:
    """A JSON number as a float, or as a decimal where a float would lose it: 1e-400 is not 0."""
    number = float(text)
    return number if not math.isfinite(number) or Decimal(text) == Decimal(repr(number)) else Decimal(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises Unreadable where a name occurs twice: either value might be meant."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise Unreadable(f"has the name {next(name for name in names if names.count(name) > 1)!r} twice")
    return values


def _check_size(path: Path, size: int) -> None:
    """Refuse a file that would fill the memory, as a few kB of parquet can. Raises ValueError."""
    if size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES:,} bytes in the columns read; take a part of it.")


def _of_parquet(path: Path, where: str, columns: Collection[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(where, columns, names)
            if twice := next((column for column in columns if names.count(column) > 1), None):
                raise ValueError(f"{path} has two columns {twice!r}; either might be meant, so rename one.")
            size, rows = 0, 0
            for batch in file.iter_batches(batch_size=100, columns=list(columns)):
                size += batch.nbytes
                _check_size(path, size)
                yield from _of_batch(batch, where, rows + 1)
                rows += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as parquet: {_one_line(error)}.") from None


def _of_batch(batch: Any, where: str, first: int) -> list[Row]:
    """The rows of a batch, numbered from `first`. A row gets a fault where Python cannot hold its values, such as a
    year 100,000 or text that is not UTF-8.
    """
    labels = [f"{where}, row {number}" for number in range(first, first + len(batch))]
    short = [at for at, kind in enumerate(batch.schema.types) if pa.types.is_float16(kind) or pa.types.is_float32(kind)]
    try:
        rows = batch.to_pylist()
        for at in short:  # 0.1 in 32 bits is 0.10000000149 in 64
            name = batch.schema.names[at]
            for values, number in zip(rows, batch.column(at).to_numpy(zero_copy_only=False), strict=True):
                values[name] = None if values[name] is None else float(str(number))
        return [Row(row, values) for row, values in zip(labels, rows, strict=True)]
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        if len(batch) == 1:
            return [Row(labels[0], {}, f"{labels[0]} cannot be read: {error}.")]
    return [row for at in range(len(batch)) for row in _of_batch(batch.slice(at, 1), where, first + at)]
