"""What the workers of the pool's tests are asked to do."""

import contextlib
import os
import stat
import time
from typing import Any

kept: list[bytes] = []


def write_half_a_reply() -> None:
    """What a worker leaves behind that is killed while it writes."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the one that lists the folder is closed by now
            if descriptor > 2 and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b'{"value": "the first ha')


def act(request: dict[str, Any]) -> Any:
    """Do as the request says."""
    match request["do"]:
        case "echo":
            return request["value"]
        case "pid":
            return os.getpid()
        case "tower":
            return 9 ** (9 ** (9**9)) > 0
        case "hoard":
            return len("x" * (4 * 2**30))
        case "keep":
            kept.append(b"x" * (request["mib"] * 2**20))
        case "abort":
            os.abort()
        case "fail":
            raise ValueError("boom")
        case "print":
            print("not a reply", flush=True)
            return "replied"
        case "flood":
            return request["piece"] * (request["mib"] * 2**20 // len(request["piece"]))
        case "half":
            write_half_a_reply()
            time.sleep(60) if request["then"] == "sleep" else os.abort()
        case "sleep":
            time.sleep(60)
