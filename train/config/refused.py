"""The end of a process that refuses its configuration: one line from the first process alone, and exit code 2."""

import os
import time

from data.terminal import say

LONGEST = 2_000  # characters of a refusal; the longest that we write ourselves, with its names, has 1,000
PATIENCE = 20.0  # seconds in which the first process can say why the run is refused


def one_line(error: object) -> str:
    """An error's message in one line; the middle of a long one, such as a whole file, is left out."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"


def refused(error: Exception) -> int:
    """Say once why the run was not started; returns the exit code."""
    if int(os.environ.get("RANK", "0")) == 0:
        say(f"error: {one_line(error)}")
    else:
        time.sleep(PATIENCE)  # a launcher ends the others when one ends: let the first process be that one
    return 2
