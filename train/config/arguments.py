"""The command line and the config file of a run, read into checked values before torch is imported.

`--config FILE` or `--config=FILE` names a YAML file; options on the command line override it. An option is written
`--name value` or `--name=value`; `--name` alone is true, and `--no_name` false.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from data.paths import user_path
from train.config.checks import check_run
from train.config.idle_options import refuse_idle
from train.config.run_config import RunConfig
from train.config.trl_options import trl_options
from train.config.values import Option, options_of, read_value
from train.files.recorded_config import read_run_config

HELP = ("-h", "--help")


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a run's options: ours as a RunConfig, and those set of TRL's GRPOConfig, each in its range."""

    run: RunConfig
    trl: dict[str, Any]


def read_values(arguments: Sequence[str]) -> Values:
    """Read the command line and the config file that it names.

    Raises ValueError, in one line, for an unknown option, a value of another type or out of range, or a file that
    cannot be read; and for the first of our own options that contradicts another.
    """
    ours, trl = options_of(RunConfig), trl_options()
    options = trl | ours
    values = split(arguments, options)
    path = values.pop("config", None)
    if path is not None:
        values = read_config(user_path(path), options) | values
    by_name = typed(values)
    run = RunConfig(**{name: value for name, value in by_name.items() if name in ours})
    check_run(run)
    return Values(run, {name: value for name, value in by_name.items() if name not in ours})


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options in their types. Raises ValueError for a value of another type or out of range, and for an idle option."""
    ours, options = options_of(RunConfig), trl_options() | options_of(RunConfig)
    for name in values:
        if name not in options:
            raise ValueError(unknown(str(name), options))
    by_name = {name: read_value(options[name], value) for name, value in values.items()}
    refuse_idle({name: value for name, value in by_name.items() if name not in ours})
    return by_name


def split(arguments: Sequence[str], options: Mapping[str, Option]) -> dict[str, Any]:
    """The command line as options with their text; a flag is a truth value. Raises ValueError."""
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, inline = word.partition("=")
        if not name.startswith("--") or name == "--":
            raise ValueError(f"Unexpected argument {word!r}; options are written --name value.")
        name = name[2:].replace("-", "_")
        texts = [inline] if equals else []
        while not equals and rest and not rest[0].startswith("--"):
            texts.append(rest.pop(0))
        if name not in options and name.startswith("no_") and "bool" in _kinds(options, name[3:]) and not texts:
            values[name[3:]] = False
        elif name == "config":
            if "config" in values:
                raise ValueError("--config is given twice; give one file.")
            values[name] = _one(name, texts)
        elif name not in options:
            raise ValueError(unknown(name, options))
        elif not texts and options[name].kinds == ("bool",):
            values[name] = True
        elif len(texts) > 1 and "list" in options[name].kinds:
            values[name] = texts
        else:
            text = _one(name, texts)
            values[name] = [text] if options[name].kinds == ("list",) else text
    return values


def read_config(path: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """The content of a config file. Raises ValueError."""
    if not path.exists():
        raise ValueError(f"Config file {path} does not exist; --config takes the path of a YAML file.")
    content = read_run_config(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {str(content)[:100]!r}; expected a mapping of options, such as `name: my-run`.")
    if "env" in content:
        raise ValueError(f"{path} sets environment variables with `env`; leave it out, and set them where you launch.")
    for name in content:
        if name not in options:
            raise ValueError(f"{path}: {unknown(str(name), options)}")
    return content


def unknown(name: str, options: Mapping[str, Option]) -> str:
    """A line that says that an option does not exist, and which names look like it."""
    near = get_close_matches(name.replace("-", "_"), options, n=2, cutoff=0.75)
    mend = f"did you mean {' or '.join(near)}?" if near else "`python -m train --help` lists all."
    return f"Unknown option {name}; {mend}"


def _kinds(options: Mapping[str, Option], name: str) -> tuple[str, ...]:
    return options[name].kinds if name in options else ()


def _one(name: str, texts: Sequence[str]) -> str:
    if len(texts) != 1:
        count = f"{len(texts)}: {' '.join(texts)}" if texts else "none"
        raise ValueError(f"--{name} takes one value, and the command line has {count}.")
    return texts[0]
