"""A run that is resumed trains on the problems that it began with: a digest of them stands in environment.json."""

import hashlib
from pathlib import Path

from data.mixture import draw_problems
from data.problem import Problem
from train.config.run_config import RunConfig
from train.files.untrusted import read_json

PROBLEMS = "problems"  # the key in environment.json


def problem_digests(run: RunConfig, seed: int) -> dict[str, str]:
    """A digest of each set of problems that the run draws, in the order in which it draws them."""
    return {
        "train": _digest(draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=seed)),
        "validation": _digest(draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)),
    }


def refuse_other_problems(folder: Path, digests: dict[str, str]) -> None:
    """Raise ValueError where the run in `folder` began with other problems; an older run has kept no digest."""
    path = folder / "environment.json"
    began = read_json(path).get(PROBLEMS) or {}
    if not isinstance(began, dict):
        raise ValueError(f"{path} is not as `train` left it: {PROBLEMS} is {began!r}.")
    for name, digest in digests.items():
        if began.get(name, digest) != digest:
            raise ValueError(
                f"The {name} problems are not those that the run began with: a data file was edited, or this version "
                "draws others. Put the file back, or start another run with --name."
            )


def _digest(problems: list[Problem]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for problem in problems:
        digest.update(problem.to_json().encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()
