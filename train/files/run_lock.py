"""A run folder belongs to one process at a time; imports next to nothing, so that a sweep can ask who holds a run."""

import errno
import fcntl
import os
import time
from pathlib import Path

import filelock

LOOK = 0.5  # seconds; a look at the lock (`is_held`) is over long before


def is_held(folder: Path) -> bool:
    """Whether a process holds the run's folder. Writes nothing, and needs no right to write.

    Several readers may look at once. The look fails at once where a run holds the folder, and `lock` waits for it, so
    that no run is refused because someone watches.
    """
    return _is_locked(_lock_file(folder)) or _is_locked(folder)


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # no run has ever held it, or we may not look
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # ENOSYS: a disk without locks, where the lock is that the file exists
        return error.errno in (errno.EAGAIN, errno.EACCES) or (error.errno == errno.ENOSYS and path.is_file())
    finally:
        os.close(file)
    return False


def refuse_held(folder: Path) -> None:
    """Raise ValueError where another process holds the run's folder; leaves nothing behind."""
    if is_held(folder):
        raise _going_on(folder)


class RunLock:
    """Holds a run's folder until the context ends: by its name, and the folder itself once `hold` is called.

    The name is there before the folder. The folder itself is one under every name, such as another mount's.
    """

    def __init__(self, name: filelock.BaseFileLock) -> None:
        self._name = name
        self._folder: int | None = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def hold(self, folder: Path) -> None:
        """Hold the folder itself, in place of one held before. Raises ValueError where another process does."""
        self._let_go()
        try:
            file = os.open(folder, os.O_RDONLY)
        except OSError:  # there is none yet
            return
        end = time.monotonic() + LOOK
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):  # a disk that locks no folders: the name must do
                    os.close(file)
                    return
                if time.monotonic() > end:
                    os.close(file)
                    raise _going_on(folder) from None
                time.sleep(0.01)
            else:
                self._folder = file
                return

    def release(self) -> None:
        """Let others have the folder."""
        self._let_go()
        self._name.release()

    def _let_go(self) -> None:
        if self._folder is not None:
            fcntl.flock(self._folder, fcntl.LOCK_UN)  # a forked process may have the file open still
            os.close(self._folder)
            self._folder = None


def lock(folder: Path) -> RunLock:
    """Hold a run's folder for this process: two runs that write to one folder would spoil it. Raises ValueError.

    Links are followed, so that a folder under two names has one lock. A folder that is made later is to be held then.
    """
    name = filelock.FileLock(_lock_file(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        name.acquire(timeout=LOOK, poll_interval=0.01)
    except filelock.Timeout:
        raise _going_on(folder) from None
    except OSError as error:
        raise ValueError(f"The run folder {folder} cannot be written: {error.strerror}.") from None
    run_lock = RunLock(name)
    try:
        run_lock.hold(folder)
    except ValueError:
        run_lock.release()
        raise
    return run_lock


def _going_on(folder: Path) -> ValueError:
    return ValueError(f"The run {folder} is going on in another process; end that one first.")


def _lock_file(folder: Path) -> Path:
    """Beside the real folder, so that two links to one folder share a lock."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.lock")
