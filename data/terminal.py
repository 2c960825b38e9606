"""What a program says to the person at its terminal, on standard error, so that results alone go to standard output."""

import os
import sys
from functools import cache

from tqdm import tqdm


def say(line: str) -> None:
    """Print one line, above any progress bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


@cache
def say_once(line: str) -> None:
    """Print a line at its first time, from the first process of a run."""
    if os.environ.get("RANK", "0") == "0":
        say(line)
