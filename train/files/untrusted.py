"""Files that may come from a stranger: read without running anything, bounded in size, and refused in one clear line.

Weights have their own reader (`train.model.loading`), which takes safetensors alone. Every reader here raises
ValueError.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from train.files.yaml_values import misread

MAX_YAML_BYTES = 2**18  # the largest config of this project has 2 kB
MAX_YAML_DEPTH = 30
MAX_JSON_BYTES = 2**27  # tokenizers of 250,000 words take 35 MB
LAST_BYTES = 2**20  # of a file of metrics, to find its last line; a line has some 2 kB
MAX_PARQUET_ROWS = 10_000_000
MAX_PARQUET_BYTES = 2**33  # of one file, unpacked


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: plain values, no tags, and no aliases, of which a few can expand to gigabytes."""
    text = _text(path, MAX_YAML_BYTES)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{path} has the alias *{event.anchor}, which is not read; write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise ValueError(f"{path} is nested more than {MAX_YAML_DEPTH} deep.")
        if fault := misread(yaml.compose(text, Loader=yaml.SafeLoader)):
            raise ValueError(f"{path}, {fault}.")
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # of a value that is not what its tag says
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(_text(path, MAX_JSON_BYTES))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deep to be read.") from None


def metrics_parts(path: Path) -> list[Path]:
    """The files of a run's metrics, oldest first: what was rotated out of `metrics.jsonl`, and that file itself."""
    return [*sorted(path.parent.glob(f"{path.stem}-*{path.suffix}")), *([path] if path.is_file() else [])]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`, each with its `phase` and `step`; none where there is no file.

    A last line without an end is skipped: it is still being written, or a kill cut it off.
    """
    return [row for part in metrics_parts(path) for row in read_metrics_part(part)]


def read_metrics_part(path: Path) -> list[dict[str, Any]]:
    """The rows of one of those files."""
    lines = _text(path, MAX_JSON_BYTES).split("\n")[:-1]
    return [_metrics_row(line, f"{path}, line {number},") for number, line in enumerate(lines, 1)]


def last_metrics(path: Path) -> dict[str, Any] | None:
    """The last row of `read_metrics`, None where there is none; reads the end of one file alone."""
    for part in reversed(metrics_parts(path)):
        if not part.is_file():  # a pipe would keep us waiting
            continue
        with part.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = file.read(LAST_BYTES).split(b"\n")[:-1]
        if lines:
            return _metrics_row(lines[-1].decode(errors="replace"), f"The last line of {part}")
    return None


def _metrics_row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        return row | {"phase": str(row["phase"]), "step": int(row["step"])}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"{place} is not as `train` writes it; delete the line.") from None


def read_parquet(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """The columns of one parquet file, in that order."""
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        with pq.ParquetFile(path) as file:
            rows, groups = file.metadata.num_rows, range(file.metadata.num_row_groups)
            size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
            if rows > MAX_PARQUET_ROWS or size > MAX_PARQUET_BYTES:
                raise ValueError(f"{rows:,} rows of {size:,} bytes are more than is read of one file")
            return file.read(columns=list(columns)).select(columns)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} cannot be read as parquet with the columns {', '.join(columns)}: {reason}") from None


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"{path} has more than {most:,} bytes, and is not read.")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path} cannot be read: {reason}.") from None
