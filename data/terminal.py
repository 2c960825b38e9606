"""Messages for the person at the terminal go to standard error, so that standard output holds results alone."""

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
    """Print a line once, from the first process of a run."""
    if os.environ.get("RANK", "0") == "0":
        say(line)
