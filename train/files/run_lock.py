"""A run folder belongs to one process at a time; imports next to nothing, so that a sweep can ask who holds a run."""

import errno
import fcntl
import os
from pathlib import Path

import filelock

LOOK = 0.5  # seconds; a look at the lock (`is_held`) is over long before


def is_held(folder: Path) -> bool:
    """Whether a process holds the run's folder. Writes nothing, and needs no right to write.

    Several readers may look at once. The look fails at once where a run holds the folder, and `lock` waits for it, so
    that no run is refused because someone watches.
    """
    try:
        file = os.open(_lock_file(folder), os.O_RDONLY)
    except OSError:  # no run has ever held it, or we may not look
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # ENOSYS: a disk without locks, where the lock is that the file exists
        return error.errno in (errno.EAGAIN, errno.EACCES, errno.ENOSYS)
    finally:
        os.close(file)
    return False


def refuse_held(folder: Path) -> None:
    """Raise ValueError where another process holds the run's folder; leaves nothing behind."""
    if is_held(folder):
        raise _going_on(folder)


def lock(folder: Path) -> filelock.BaseFileLock:
    """Hold a run's folder for this process: two runs that write to one folder would spoil it. Raises ValueError.

    Links are followed, so that a folder under two names has one lock.
    """
    file_lock = filelock.FileLock(_lock_file(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file_lock.acquire(timeout=LOOK, poll_interval=0.01)
    except filelock.Timeout:
        raise _going_on(folder) from None
    except OSError as error:
        raise ValueError(f"The run folder {folder} cannot be written: {error.strerror}.") from None
    return file_lock


def _going_on(folder: Path) -> ValueError:
    return ValueError(f"The run {folder} is going on in another process; end that one first.")


def _lock_file(folder: Path) -> Path:
    """Beside the real folder, so that two links to one folder share a lock."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.lock")
