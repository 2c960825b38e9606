"""What the workers of the pool's tests are asked to do."""

import os
import time
from typing import Any

kept: list[bytes] = []


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
            return "x" * (2 * 2**20)
        case "sleep":
            time.sleep(60)
