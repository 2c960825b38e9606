"""Writes checkpoints whole or not at all: into another folder, flushed, sealed with checksums, then renamed.

The seal, `complete.json`, is written last and lists every file with its size and SHA-256. A checkpoint is whole if its
seal holds. `fault` decides that, and resuming, evaluation and sweeps all ask it. Resuming takes the newest whole
checkpoint and names those that it skipped. Other readers refuse a damaged checkpoint by name.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from train.files.atomic import flush
from train.files.untrusted import read_json

SEAL = "complete.json"
UNFINISHED = ".unfinished"  # where a checkpoint is being written; readers ignore it
COLD_START = "cold-start"  # the checkpoint that RL starts from
_NAME = re.compile(r"checkpoint-([0-9]+)")
_sound: set[tuple[Any, ...]] = set()  # folders whose checksums held, with sizes and times that change if they do


def publish(unfinished: Path, path: Path) -> None:
    """Seal the folder `unfinished`, flush it to disk and rename it to `path`, which is replaced if it exists."""
    seal(unfinished)
    for file in _files(unfinished).values():
        flush(file)
    for file in (unfinished / SEAL, *(p for p in unfinished.rglob("*") if p.is_dir()), unfinished):
        flush(file)
    if path.exists():
        shutil.rmtree(path)
    unfinished.rename(path)
    flush(path.parent)


def seal(folder: Path) -> None:
    """Write the seal of a folder whose files are complete."""
    files = {name: {"bytes": file.stat().st_size, "sha256": _digest(file)} for name, file in _files(folder).items()}
    (folder / SEAL).write_text(json.dumps({"files": files}, indent=1) + "\n")


def fault(path: Path) -> str | None:
    """Why the checkpoint at `path` cannot be trusted, or None where its seal holds."""
    if path.is_symlink() or any(file.is_symlink() for file in path.rglob("*")):
        return "it is, or holds, a link to somewhere else"
    if not (path / SEAL).is_file():
        return f"it has no {SEAL}, so it was never finished"
    try:
        files = read_json(path / SEAL)["files"]
        sealed = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its {SEAL} cannot be read ({error})"
    present = _files(path)
    state = _state(path, present)
    if state in _sound:
        return None
    for name, (size, digest) in sealed.items():
        if name not in present:
            return f"{name} is missing"
        if present[name].stat().st_size != size:
            return f"{name} has {present[name].stat().st_size} bytes, not {size}"
        if _digest(present[name]) != digest:
            return f"{name} is damaged: its checksum is another"
    if (step := _saved_at(path)) is not None and step_in(path.name) not in (None, step):
        return f"its trainer_state.json is of step {step}, so it was renamed"
    _sound.add(state)
    return None


def _saved_at(path: Path) -> int | None:
    """The step that a checkpoint's own record names, None where it has none."""
    try:
        return int(read_json(path / "trainer_state.json")["global_step"])
    except (ValueError, KeyError, TypeError):
        return None


def refusal(path: Path) -> str | None:
    """Why the model at `path` must not be read, in one line, or None.

    A sealed folder and any checkpoint of a run must be whole. Other folders with a model need no seal.
    """
    path = path.resolve()
    run = path.parent
    of_a_run = run.name == "checkpoints" and (step_in(path.name) is not None or path.name == COLD_START)
    if not path.is_dir() or not ((path / SEAL).exists() or (of_a_run and (run.parent / "config.yaml").is_file())):
        return None
    reason = fault(path)
    return f"{path} is not a whole checkpoint: {reason}. Take another, or train it anew." if reason else None


def finished(folder: Path) -> list[Path]:
    """Every `checkpoint-N` in `folder` that was written to its end, by step; `fault` says which was damaged since."""
    return sorted((path for path in numbered(folder) if (path / SEAL).is_file()), key=step_of)


def last_finished(folder: Path) -> Path | None:
    """The newest of the `finished`."""
    return next(reversed(finished(folder)), None)


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest `checkpoint-N` in `folder` whose seal holds, or None, and a line for each that was passed over."""
    passed_over: list[str] = []
    for path in sorted(numbered(folder), key=step_of, reverse=True):
        reason = fault(path)
        if reason is None:
            return path, passed_over
        passed_over.append(f"Passed over {path}: {reason}.")
    return None, passed_over


def numbered(folder: Path) -> list[Path]:
    """Every `checkpoint-N` in `folder`, whole or not."""
    return [path for path in folder.glob("checkpoint-*") if step_in(path.name) is not None]


def step_of(checkpoint: Path) -> int:
    """The step that `checkpoint-N` was written after."""
    step = step_in(checkpoint.name)
    if step is None:
        raise ValueError(f"{checkpoint} is not a checkpoint-N.")
    return step


def step_in(name: str) -> int | None:
    """The step in the name `checkpoint-N`; None for another name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def checkpoint_name(step: int) -> str:
    """The name of the checkpoint that is written after `step`."""
    return f"checkpoint-{step}"


def discard_after(folder: Path, step: int) -> None:
    """Move checkpoints later than `step` aside, and delete unfinished ones: a run continues from there.

    They are kept as `damaged-N`, so that nothing is deleted that a person might want to look at.
    """
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    for path in numbered(folder):
        if step_of(path) > step:
            aside = folder / f"damaged-{step_of(path)}"
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def _files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` but its seal, by its path in it."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }


def _state(path: Path, files: dict[str, Path]) -> tuple[Any, ...]:
    """A key that changes when a file is written. One evaluation reads a checkpoint several times and hashes it once."""
    stats = [(name, file.stat()) for name, file in {SEAL: path / SEAL, **files}.items()]
    return (str(path.resolve()), *((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
