"""A run folder belongs to one process at a time; imports next to nothing, so that a sweep can ask who holds a run."""

from pathlib import Path

import filelock


def refuse_held(folder: Path) -> None:
    """Raise ValueError where another process holds the run's folder; leaves nothing behind."""
    if _lock_file(folder).exists():
        lock(folder).release()


def lock(folder: Path) -> filelock.BaseFileLock:
    """Hold a run's folder for this process: two runs that write to one folder would spoil it. Raises ValueError.

    Links are followed, so that a folder under two names has one lock.
    """
    held = filelock.FileLock(_lock_file(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(f"The run {folder} is going on in another process; end that one first.") from None
    except OSError as error:
        raise ValueError(f"The run folder {folder} cannot be written: {error.strerror}.") from None
    return held


def _lock_file(folder: Path) -> Path:
    """Beside the folder itself: two links to one folder must not be two locks."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.lock")
