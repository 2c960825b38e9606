"""Several machines: each process must see the folder that the run is written to, or half of the run would be lost."""

import socket
import time
import uuid
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

PATIENCE = 30.0  # seconds until a network file system shows what another machine has made


def why_not_shared(runs_dir: Path) -> str | None:
    """Why the processes do not see one and the same `runs_dir`, or None. All of them must call this together.

    The first process makes a file there, and the others look for it. Where it cannot make one, nothing is known: None.
    """
    state = PartialState()
    name: list[str | None] = [None]
    if state.is_main_process:
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            file = runs_dir / f".{uuid.uuid4().hex}"
            file.touch()
            name = [file.name]
        except OSError:
            pass  # said better where the run's own folder is made
    broadcast_object_list(name)
    if name[0] is None:
        return None
    token = runs_dir / name[0]
    blind = gather_object([] if _appears(token) else [socket.gethostname()])
    if state.is_main_process:
        token.unlink()
    if not blind:
        return None
    return (
        f"{len(blind)} of {state.num_processes} processes, on {', '.join(sorted(set(blind)))}, do not see what is "
        f"written to {runs_dir}; set --runs_dir to a folder on a file system that all machines share."
    )


def _appears(path: Path) -> bool:
    ends = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > ends:
            return False
        time.sleep(0.5)
    return True
