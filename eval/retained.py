"""Skills that a run did not train: the start and the trained model on a held-out set of other tasks.

RL forgets less than imitation (RL's Razor, Shenfeld et al. 2025, arXiv 2509.04259), and what it forgets goes
with the KL divergence to the start (`eval.measures.drift`). Both models answer the same problems, each at its best
decoding, paired by problem.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.mixture import load_mixture
from eval.claims.judging import RETAINED
from eval.sampling.source import Source, read_source
from train.files.recorded_config import read_run_config

Tasks = Mapping[str, Mapping[str, Any] | None]

# Short answers that a small model of language gets partly right: spelling, counting, ordering, adding, deducing.
OF_WORDS: Tasks = {
    f"gym:{name}": None
    for name in ("spell_backward", "letter_counting", "number_sorting", "chain_sum", "leg_counting", "syllogism")
}
# A model from scratch knows no words but its tasks': these ask for the skills of its cold start at other sizes.
OF_SCRATCH: Tasks = {"countdown": {"numbers": 2, "largest": 9}, "arithmetic": {"products": 1.0, "digits": 2}}


def other_tasks(config: Mapping[str, Any]) -> Tasks:
    """Tasks beside those that a run's configuration trains on; for a model from scratch, other settings of its own.

    Raises ValueError where none is left.
    """
    trained = config["tasks"]
    if config.get("model") == "scratch":
        tasks = trained | (config.get("cold_start_tasks") or {})
        others = {name: values for name, values in OF_SCRATCH.items() if name in tasks}
    else:
        others = {name: values for name, values in OF_WORDS.items() if name not in trained}
    if not others:
        raise ValueError(
            f"No other tasks are known for a run on {', '.join(trained)}; give some: --tasks '{{\"NAME\": {{}}}}'."
        )
    return others


def other_source(run: Path, tasks: Tasks | None = None, *, own_tasks: bool = False) -> Source:
    """The problems of `tasks`, or of `other_tasks`, asked as the run asks its own. Raises ValueError.

    `own_tasks` lets the run's config name modules to be run.
    """
    config = read_run_config(run / "config.yaml")
    source = read_source(run / "config.yaml", own_tasks=own_tasks)
    return replace(source, parts=load_mixture(tasks or other_tasks(config)))


def folder_of(run: Path) -> Path:
    """The folder of the results."""
    return run / "evaluation" / RETAINED
