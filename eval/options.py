"""Command-line options that several scripts share. `rethink completion` reads them here too."""

import argparse
from pathlib import Path

from data.paths import user_path


def add_models(parser: argparse.ArgumentParser, checkpoint: str) -> None:
    """Which models are asked whose problems; `checkpoint` says what --checkpoint takes."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=user_path, help="a run folder: its model before RL and its last checkpoint")
    what.add_argument("--checkpoint", action="append", help=f"{checkpoint}; repeat to compare")
    parser.add_argument(
        "--config", type=user_path, help="whose problems (default: the config of the run that a checkpoint is in)"
    )


def add_sampling(parser: argparse.ArgumentParser, seed: int) -> None:
    """How long completions may be, from which seed they are drawn, and of which problems."""
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=seed, help="of the sampling (default: %(default)s)")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="(default: %(default)s)")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Where results and samples go; see `results_folder`."""
    parser.add_argument(
        "--output", type=user_path, help="folder for results (default: RUN/evaluation, or ./evaluation)"
    )
    parser.add_argument(
        "--cache", type=user_path, help="folder for samples drawn (default: cache, in the folder for results)"
    )


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder that `add_folders` and `add_models` lead to."""
    return arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))


def add_processes(parser: argparse.ArgumentParser, default: int) -> None:
    """How many processes sample, by default `default`."""
    parser.add_argument(
        "--processes",
        type=int,
        default=default,
        help="processes that sample, where the model is small (default: %(default)s)",
    )


def add_own_tasks(parser: argparse.ArgumentParser) -> None:
    """The option that lets a config name code to be run; without it a run folder from a stranger runs nothing."""
    parser.add_argument(
        "--own-tasks",
        action="store_true",
        help="run the task modules that the config names, and programs without a sandbox where it says so",
    )
