"""A trial's training config: the base config, what the sweep sets for all, and the trial's own values."""

import copy
from collections.abc import Mapping
from typing import Any

from eval.sweep.setup.space import Dimension, Params

# Given by the sweep to each run, so neither searched nor set.
OWN = ("name", "runs_dir", "resume", "overwrite", "seed")
# What the validation is made of; another value would change the measure and not the model.
MEASURE = ("validation_problems", "split_seed", "num_generations_eval", "eval_strategy", "eval_steps")
EVALUATIONS = 10  # of a run whose config does not say when to evaluate, at most


def setting(
    base: Mapping[str, Any], fixed: Mapping[str, Any], space: tuple[Dimension, ...], params: Params
) -> dict[str, Any]:
    """The config of a trial, without the name, folder and seed of its runs. Raises ValueError."""
    config = copy.deepcopy({name: value for name, value in base.items() if name not in OWN})
    for field, value in fixed.items():
        put(config, field, value)
    for dimension in space:
        put(config, dimension.field, dimension.value(params[dimension.field]))
    _defaults(config)
    return config


def check_fields(fixed: Mapping[str, Any], space: tuple[Dimension, ...]) -> None:
    """Refuse fields that are the sweep's own, or that stand in both places. Raises ValueError."""
    dimensions = [dimension.field for dimension in space]
    for field in (*fixed, *dimensions):
        if field in OWN:
            instead = "seeds" if field == "seed" else "the sweep's own settings"
            raise ValueError(f"{field} is given by the sweep to each run; use {instead}, and leave it out.")
    for field in dimensions:
        if field in MEASURE:
            raise ValueError(
                f"search.{field} would change what is measured, not what is learnt, and trials could not be compared; "
                f"put one value under set."
            )
        if overlap := [o for o in fixed if f"{o}.".startswith(f"{field}.") or f"{field}.".startswith(f"{o}.")]:
            raise ValueError(f"set.{overlap[0]} and search.{field} are the same place; leave one out.")


def put(config: dict[str, Any], field: str, value: Any) -> None:
    """Set `field`, whose dots lead into mappings: `tasks.countdown.slip`. Raises ValueError where they lead nowhere."""
    *way, last = field.split(".")
    place = config
    for depth, key in enumerate(way, 1):
        if key not in place and depth > 1:  # a new mapping may begin at the top, but a typo must not make a new task
            raise ValueError(f"{field} leads nowhere: the config has no {'.'.join(way[:depth])}.")
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise ValueError(f"{field} leads nowhere: {'.'.join(way[:depth])} is {place!r}, no mapping.")
    place[last] = copy.deepcopy(value)


def _defaults(config: dict[str, Any]) -> None:
    """What a sweep needs of a run where its config does not say: few checkpoints, and evaluations up to its end."""
    if not {"keep_last", "save_total_limit"} & config.keys():
        config["keep_last"] = 1
    steps = config.get("max_steps")
    if "eval_strategy" not in config and isinstance(steps, int) and steps > 0:
        config["eval_strategy"] = "steps"
        config.setdefault(
            "eval_steps", next(d for d in range(1, steps + 1) if steps % d == 0 and steps // d <= EVALUATIONS)
        )
