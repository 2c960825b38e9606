"""Command-line options that several scripts share. `rethink completion` reads them here too."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.paths import user_path


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


def add_sampling(parser: argparse.ArgumentParser, seed: int) -> None:
    """The longest completion, the seed of the sampling, and the split of the problems."""
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=seed, help="of the sampling (default: %(default)s)")
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="of the problems (default: %(default)s)"
    )


def add_best_decoding(parser: argparse.ArgumentParser, temperatures: Sequence[float], problems: int) -> None:
    """The temperatures from which each model's best decoding is chosen, and the problems on which it is."""
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs="+",
        default=temperatures,
        metavar="T",
        help="temperatures from which each model's best decoding is chosen, 0 is greedy; if there is only one, it is "
        f"used as it is (default: {' '.join(f'{t:g}' for t in temperatures)})",
    )
    parser.add_argument(
        "--validation-problems",
        type=int,
        default=problems,
        help="other held-out problems, on which the best decoding is chosen (default: %(default)s)",
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The folders of results and samples; see `results_folder`."""
    parser.add_argument(
        "--output", type=user_path, help="folder for results (default: RUN/evaluation, or ./evaluation)"
    )
    parser.add_argument("--cache", type=user_path, help="folder for samples (default: cache in the folder for results)")


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder for results that the options of `add_folders` and `add_models` name."""
    return arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))


def add_processes(parser: argparse.ArgumentParser, default: int) -> None:
    """The number of processes that sample."""
    parser.add_argument(
        "--processes",
        type=int,
        default=default,
        help="processes that sample if the model is small (default: %(default)s)",
    )


def add_own_tasks(parser: argparse.ArgumentParser) -> None:
    """The option that lets a config run code of its own; without it, a stranger's run folder cannot run any."""
    parser.add_argument(
        "--own-tasks",
        action="store_true",
        help="trust the config: run the task modules that it names, and programs without a sandbox if it says so",
    )
