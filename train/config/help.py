"""The text of `python -m train --help`."""

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields

from trl import GRPOConfig

from train.config.parse import DERIVED, RL_DEFAULTS
from train.config.run_config import RunConfig
from train.config.trl_options import trl_options
from train.config.values import Option, options_of

USAGE = """\
usage: accelerate launch -m train --config FILE [--NAME VALUE ...]

Options come from the YAML file and from the command line, which overrides it. An
option is written `--name value` or `--name=value`; `--name` alone is true, and
`--no_name` is false. Each option is shown with its values and its default."""


def print_help() -> None:
    """Print every option with its values, its default and its help: ours, then TRL's."""
    width = min(100, shutil.get_terminal_size().columns)
    print(USAGE)
    for title, kind, options in (
        ("Options of Rethink:", RunConfig, options_of(RunConfig)),
        ("Options of TRL's GRPOConfig and of transformers' TrainingArguments:", GRPOConfig, trl_options()),
    ):
        print(f"\n{title}")
        for field in fields(kind):
            if field.name in options and field.name not in DERIVED:
                print("\n".join(_lines(field, options[field.name], width)))


def _lines(field: Field, option: Option, width: int) -> Iterator[str]:
    default = RL_DEFAULTS.get(field.name, field.default if field.default is not MISSING else None)
    note = "" if default in (None, "") else f" (default: {getattr(default, 'value', default)})"
    yield textwrap.fill(
        f"--{field.name}: {option.expected}{note}", width, initial_indent="  ", subsequent_indent="      "
    )
    for paragraph in field.metadata.get("help", "").splitlines():
        yield textwrap.fill(paragraph.strip(), width, initial_indent="      ", subsequent_indent="      ")
