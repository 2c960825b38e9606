"""Command-line options that several scripts share. `rethink completion` reads them here too."""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data.paths import user_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def add_models(parser: argparse.ArgumentParser, checkpoint: str) -> None:
    """The models and the config of their problems. `checkpoint` is the help of --checkpoint."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--run", type=user_path, help="a run folder, whose model before RL and last checkpoint are compared"
    )
    what.add_argument("--checkpoint", action="append", help=f"{checkpoint}; repeat to compare")
    parser.add_argument(
        "--config",
        type=user_path,
        help="training config with the problems (default: that of the run that a checkpoint belongs to)",
    )


def add_settings(parser: argparse.ArgumentParser, default: Any, *options: str) -> None:
    """Options for fields of the settings `default`, for all where none is named; see `read_settings`."""
    for field in fields(default):
        option, value = f"--{field.name.replace('_', '-')}", getattr(default, field.name)
        if options and option not in options:
            continue
        several = isinstance(value, tuple)
        parser.add_argument(
            option,
            type=float if several else type(value),
            nargs="+" if several else None,
            choices=field.metadata.get("choices"),
            default=value,
            help=f"{field.metadata['help']} (default: {' '.join(map(str, value)) if several else value})",
        )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The longest completion, the seed of the sampling, and the split of the problems."""
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="of the problems")


def read_settings(default: T, arguments: argparse.Namespace, **changes: Any) -> T:
    """The settings that the options say; `changes` stand in for options left out. Raises ValueError."""
    values = {field.name: getattr(arguments, field.name, None) for field in fields(default)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return replace(default, **changes | {name: value for name, value in values.items() if value is not None})


def add_folders(parser: argparse.ArgumentParser, default: str = "RUN/evaluation, or ./evaluation") -> None:
    """The folders of results and samples; see `results_folder`. `default` says where results go without --output."""
    parser.add_argument("--output", type=user_path, help=f"folder for results (default: {default})")
    parser.add_argument(
        "--cache",
        type=user_path,
        help="folder for samples (default: cache in --output, RUN/evaluation or ./evaluation)",
    )


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder for results that the options of `add_folders` and `add_models` name."""
    return arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))


def add_processes(parser: argparse.ArgumentParser) -> None:
    """The number of processes that sample."""
    parser.add_argument(
        "--processes",
        type=int,
        help="processes that sample if the model is small (default: one for each core, at most 8; on a GPU 1)",
    )


def add_own_tasks(parser: argparse.ArgumentParser) -> None:
    """The option that lets a config run code of its own; without it, a stranger's run folder cannot run any."""
    parser.add_argument(
        "--own-tasks",
        action="store_true",
        help="trust the config: run the task modules that it names, and programs without a sandbox if it says so",
    )
