"""Messages for the person at the terminal go to standard error, so that standard output holds results alone."""

import argparse
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, NoReturn

from tqdm import tqdm


def say(line: str) -> None:
    """Print one line, above any progress bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@cache
def say_once(line: str) -> None:
    """Print a line once, from the first process of a run."""
    if os.environ.get("RANK", "0") == "0":
        say(line)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Leaves the description as it is written, and adds to an option's help its default, if it has one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is False or action.default in (None, "", [])
        return action.help if hidden or "default: " in (action.help or "") else super()._get_help_string(action)


class CommandLine(argparse.ArgumentParser):
    """A script's options, with its docstring as their help. A mistake is one line, not the usage, and exit code 2."""

    def __init__(self, description: str | None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Name the option that was meant, also where argparse complains of another that is missing."""
        options = list(self._option_string_actions)
        for word in (each.partition("=")[0] for each in sys.argv[1:] if each.startswith("--") and each != "--"):
            if not any(option.startswith(word) for option in options):
                near = get_close_matches(word, options, n=1, cutoff=0.75)
                message = f"unknown option {word}" + (f"; did you mean {near[0]}?" if near else "")
                break
        self.exit(2, f"error: {message.rstrip('.')}{'' if message.endswith('?') else '.'} --help lists the options.\n")


def count(text: str) -> int:
    """The type of an option that counts something: a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}; expected a whole number of at least 1")
    return int(text)


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
