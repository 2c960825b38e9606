"""How a process that refuses its configuration ends: one line from the first process alone, and exit code 2."""

import os
import time

from data.terminal import say

PATIENCE = 20.0  # seconds in which the first process can say why the run is refused


def refused(error: Exception) -> int:
    """Say once why the run was not started; returns the exit code."""
    if int(os.environ.get("RANK", "0")) == 0:
        say(f"error: {' '.join(str(error).split())}")
    else:
        time.sleep(PATIENCE)  # a launcher ends the others when one ends: let the first process be that one
    return 2
