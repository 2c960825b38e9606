"""Messages for the person at the terminal go to standard error, so that standard output holds results alone."""

import os
import sys
from collections.abc import Callable
from functools import cache, wraps

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


def command(main: Callable[[], int]) -> Callable[[], int]:
    """A script's `main`, whose ValueError or OSError is one line on standard error and exit code 2."""

    @wraps(main)
    def refusing() -> int:
        try:
            return main()
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return refusing


def quiet_libraries() -> None:
    """Have the hub's libraries send no telemetry, and print neither warnings nor progress bars."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
