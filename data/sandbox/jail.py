"""The walls of a sandbox: the command line that builds them around a program, and whether this machine can.

Inside there is no network and no other process. The file system holds only what Python needs, read-only, and an empty
`/tmp` of bounded size. The walls do not limit time, memory, files and processes: the process inside limits these for
itself before it reads anything that is not ours (`limits.confine`).
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["bubblewrap", "nsjail", "none"]
Choice = Literal["auto", "bubblewrap", "nsjail", "none"]

OURS = Path(__file__).parent  # what runs inside, and what it imports
OURS_INSIDE = "/inside/data/sandbox"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/nix/store", "/etc/ld.so.cache")
TMP_BYTES = 16 * 2**20
FILE_BYTES = 2**20  # of one file that the program writes
PROCESSES = 4  # and threads, at the same time
FIRST_USER = 1_000_000_000  # user ids that root gives to sandboxes: nobody else has them, and each sandbox has its own
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
PROBE_SECONDS = 60

_users = itertools.count()


def choose(choice: Choice) -> Kind:
    """The sandbox that a config names. Raises ValueError where this machine cannot build it, with the remedy."""
    if choice == "none":
        return "none"
    kinds: tuple[Kind, ...] = ("bubblewrap", "nsjail") if choice == "auto" else (choice,)
    faults = [(kind, fault(kind)) for kind in kinds]
    for kind, wrong in faults:
        if wrong is None:
            return kind
    raise ValueError(
        "Code problems run what a model writes, and this machine has no sandbox for it: "
        f"{'; '.join(f'{kind} {wrong}' for kind, wrong in faults)}. Install bubblewrap 0.8 or newer (apt install "
        "bubblewrap), or set `sandbox: none` to run it all the same, with limits of time and memory alone."
    )


@cache
def fault(kind: Kind) -> str | None:
    """Build such a sandbox; returns why this machine cannot, or None."""
    if not _found(kind):
        return "is not installed"
    as_user = user(kind)
    limits = json.dumps(limits_of(kind, as_user) | {"seconds": PROBE_SECONDS, "memory": 2**30})
    command = [*walls(kind, as_user), *python(), inside(kind), "probe", limits]
    try:
        trial = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not work here: {error}"
    if trial.stdout.strip() != "inside":
        lines = (trial.stdout + trial.stderr).strip().splitlines()
        return f"does not work here: {lines[-1] if lines else f'exit code {trial.returncode}'}"
    return None


def user(kind: Kind) -> int:
    """The user id of the process inside: our own, or, where we are root, one that nobody else has."""
    if os.geteuid() != 0 or kind == "none":
        return os.geteuid()
    return FIRST_USER + (os.getpid() * 1_000 + next(_users) % 1_000) % 1_000_000_000


def limits_of(kind: Kind, as_user: int) -> dict[str, int | bool]:
    """The limits that a process inside sets for itself (`limits.confine`), except for time and memory.

    Without walls a kernel without filters of system calls is accepted.
    """
    return {"file_size": FILE_BYTES, "processes": PROCESSES, "user": as_user, "strict": kind != "none"}


def python() -> list[str]:
    """The interpreter alone: no packages, no modules of the working directory."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = os.path.join(sys.base_prefix, "bin", version)  # a virtual environment's may be a copy elsewhere
    return [os.path.realpath(base if os.path.exists(base) else sys.executable), "-P", "-s", "-S", "-B"]


def inside(kind: Kind) -> str:
    """The path of `inside.py` behind the walls."""
    return f"{OURS if kind == 'none' else OURS_INSIDE}/inside.py"


def walls(kind: Kind, as_user: int, descriptors: Sequence[int] = ()) -> list[str]:
    """The words to put before a command. `descriptors`: the open files that it needs beside the first three."""
    if kind == "bubblewrap":
        return _bubblewrap()
    if kind == "nsjail":
        return _nsjail(as_user, descriptors)
    return []


def _found(kind: Kind) -> str:
    """The path of the program that builds the walls, or "" where it is not installed."""
    return shutil.which("bwrap" if kind == "bubblewrap" else kind) or ""


def _mounts() -> list[str]:
    """The parts of the file system that Python needs."""
    prefix = os.path.realpath(sys.base_prefix)
    there = [path for path in SYSTEM if os.path.exists(path) and not os.path.islink(path)]
    return there if any(Path(prefix).is_relative_to(path) for path in there) else [*there, prefix]


def _links() -> list[str]:
    return [path for path in SYSTEM if os.path.islink(path)]


def _bubblewrap() -> list[str]:
    command = [_found("bubblewrap"), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try"]
    if os.geteuid() == 0:  # it changes to its own user inside: the kernel does not count root's processes
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        command += ["--cap-add", "CAP_KILL"]  # for what `dummies` forks
    else:
        command += ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--die-with-parent", "--new-session", "--dev-bind", "/dev/null", "/dev/null"]
    for path, place in [*((path, path) for path in _mounts()), (str(OURS), OURS_INSIDE)]:
        for parent in reversed(Path(place).parents[:-1]):
            command += ["--perms", "0755", "--dir", str(parent)]  # /root may be closed, and folders in it open
        command += ["--ro-bind", path, place]
    for path in _links():
        command += ["--symlink", os.readlink(path), path]
    command += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    return [*command, "--chdir", "/tmp", "--remount-ro", "/", "--"]


def _nsjail(as_user: int, descriptors: Sequence[int]) -> list[str]:
    command = [_found("nsjail"), "--mode", "o", "--really_quiet", "--time_limit", "0", "--disable_proc"]
    command += ["--iface_no_lo", "--user", str(as_user), "--group", str(as_user)]
    if os.geteuid() == 0:
        command += ["--disable_clone_newuser"]
    for limit in ("as", "cpu", "fsize", "nofile", "nproc", "stack"):
        command += [f"--rlimit_{limit}", "hard"]  # the process inside sets its own
    for name, value in ENVIRONMENT.items():
        command += ["--env", f"{name}={value}"]
    for path in _mounts():
        command += ["--bindmount_ro", path]
    for path in _links():
        command += ["--symlink", f"{os.readlink(path)}:{path}"]
    command += ["--bindmount", "/dev/null", "--bindmount_ro", f"{OURS}:{OURS_INSIDE}"]
    command += ["--mount", f"none:/tmp:tmpfs:size={TMP_BYTES},mode=1777", "--cwd", "/tmp"]
    for descriptor in descriptors:
        command += ["--pass_fd", str(descriptor)]
    return [*command, "--"]
