"""Where an evaluation's problems and checkpoints come from: a training config, and the run folders that it made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from data.mixture import Part, Split, apportion, draw_problems, load_mixture
from data.paths import user_path
from data.problem import Problem
from data.tasks import load_task
from data.tasks.own import is_own
from train.config.run_config import RunConfig
from train.config.trl_options import trl_options
from train.config.values import options_of, read_value
from train.files.checkpoints import COLD_START, fault, finished, last_finished, numbered, step_of
from train.files.recorded_config import read_run_config
from train.model.chat import TOKENIZERS_OWN, Chat, read_template
from train.publishing.published import FOLDER as PUBLISHED

MAX_NEW_TOKENS = 512  # of a completion, where the config does not say


@dataclass(frozen=True, slots=True)
class Source:
    """The problems that a configuration trains on, and how it asks them."""

    parts: list[Part]
    split_seed: int
    system_prompt: str
    max_new_tokens: int
    chat: Chat = TOKENIZERS_OWN


def read_source(path: Path, *, own_tasks: bool = False) -> Source:
    """Read tasks, splits and prompt from a run's `config.yaml` or any training config.

    `own_tasks` lets it name modules to be run. Raises ValueError.
    """
    config = read_run_config(path)
    if not isinstance(config, dict) or "tasks" not in config:
        raise ValueError(f"The config {path} has no `tasks`; give one that `train` takes.")
    if not own_tasks:
        _refuse_code(path, config["tasks"])
    options = options_of(RunConfig) | trl_options()

    def option(name: str, default: Any) -> Any:
        return read_value(options[name], config[name]) if config.get(name) is not None else default

    try:
        return Source(
            load_mixture(config["tasks"]),
            option("split_seed", 0),
            option("system_prompt", ""),
            option("max_completion_length", MAX_NEW_TOKENS),
            Chat(
                read_template(option("chat_template", "")), option("eos_token", ""), option("chat_template_kwargs", {})
            ),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _refuse_code(path: Path, tasks: Any) -> None:
    """Raise ValueError where a config would have code of its own run."""
    for name, settings in tasks.items() if isinstance(tasks, Mapping) else ():
        if is_own(str(name)):
            does = f"names the task module {name}, which would be run"
        elif isinstance(settings, Mapping) and settings.get("sandbox") == "none":
            does = f"says tasks.{name}.sandbox: none, by which programs run as you"
        else:
            continue
        raise ValueError(f"{path} {does}; give --own-tasks if you trust it.")


def load_own_tasks(path: Path) -> None:
    """Import the task modules that a config names, so that rows of their problems can be read. Raises ValueError."""
    config = read_run_config(path)
    tasks = config.get("tasks") if isinstance(config, dict) else None
    for name in tasks if isinstance(tasks, Mapping) else ():
        load_task(str(name))


def held_out(source: Source, count: int, split: Split = "test", skip: int = 0) -> list[Problem]:
    """`count` problems that no training saw, other than the first `skip`.

    A task that has fewer than its share gives all it has. Raises ValueError where none of a task is left.
    """

    def drawn(number: int) -> list[Problem]:
        return draw_problems(source.parts, split, number, source.split_seed, at_most=True)

    if not skip:
        return drawn(count)
    skipped = {(problem.task, problem.canonical) for problem in drawn(skip)}
    every = drawn(skip + count)
    others = [problem for problem in every if (problem.task, problem.canonical) not in skipped][:count]
    shares = apportion(skip + count, [part.weight for part in source.parts])
    for part, share in zip(source.parts, shares, strict=True):
        number = sum(problem.task == part.task for problem in every)
        if number < share and all(problem.task != part.task for problem in others):
            raise ValueError(
                f"The task {part.task} has {number} {split} problems, so --skip {skip} leaves none of it; skip fewer."
            )
    return others


def config_of(checkpoint: Path) -> Path | None:
    """The `config.yaml` of the run that a checkpoint, RUN/checkpoints/NAME or RUN/model, belongs to, or None."""
    is_published = checkpoint.name == PUBLISHED and (checkpoint.parent / "checkpoints").is_dir()
    path = (checkpoint.parent if is_published else checkpoint.parent.parent) / "config.yaml"
    return path if path.is_file() else None


def source_of(checkpoints: Sequence[str], config: Path | None = None, *, own_tasks: bool = False) -> Source:
    """The problems to ask: those of `config`, or else of the runs that the checkpoints lie in; `read_source` reads it.

    Raises ValueError where they lie in no run, or in runs whose problems or prompts differ.
    """
    configs = [config] if config else [path for name in checkpoints if (path := config_of(user_path(name).absolute()))]
    if not configs:
        raise ValueError(f"{checkpoints[0]} is not in a run folder; name its config with --config FILE.")
    first, *others = [(path, read_source(path, own_tasks=own_tasks)) for path in dict.fromkeys(configs)]
    for path, other in others:
        for field in fields(Source):
            if getattr(first[1], field.name) != getattr(other, field.name):
                raise ValueError(
                    f"{first[0].parent} and {path.parent} ask different problems, or ask them differently: their "
                    f"{'tasks' if field.name == 'parts' else field.name} differ. Say whose to ask with --config FILE."
                )
    return first[1]


def checkpoints_of(run: Path, *, start: bool = False) -> list[str]:
    """Before and after: what the run started RL from, and its last checkpoint. Raises ValueError.

    `start` goes back further, to the model that the run started from, before its cold start; a model from scratch was
    nothing before it.
    """
    config = run / "config.yaml"
    last = last_finished(run / "checkpoints")
    unfinished = sorted(numbered(run / "checkpoints"), key=step_of)
    if config.is_file() and last is None and unfinished:
        raise ValueError(f"{run} has no whole checkpoint: {unfinished[-1]}: {fault(unfinished[-1])}.")
    if not config.is_file() or last is None:
        raise ValueError(
            f"{run} is not a run folder with a checkpoint; expected config.yaml and checkpoints/checkpoint-N."
        )
    cold = run / "checkpoints" / COLD_START
    values = read_run_config(config)
    model = values.get("model") if isinstance(values, dict) else None
    if not isinstance(model, str):
        raise ValueError(f"{config} names no model; expected the configuration that `train` wrote.")
    if model == "scratch":
        return [str(cold), str(last)] if cold.is_dir() else [str(last)]
    return [model if start or not cold.is_dir() else str(cold), str(last)]


def stages_of(run: Path) -> dict[str, str]:
    """The stages of the run: `base`, the model that it started from, `cold-started`, and `trained`.

    A model from scratch has no base; its cold-started model is the control. Raises ValueError.
    """
    start, last = checkpoints_of(run, start=True)[0], checkpoints_of(run)[-1]
    cold = run / "checkpoints" / COLD_START
    stages = {} if start in (str(cold), last) else {"base": start}
    return stages | ({"cold-started": str(cold)} if cold.is_dir() else {}) | {"trained": last}


def all_checkpoints(run: Path) -> dict[int, str]:
    """Every finished checkpoint by its RL step, and at step 0 what RL started from. Raises ValueError."""
    before = checkpoints_of(run)
    by_step = {0: before[0]} if len(before) > 1 else {}
    by_step |= {step_of(path): str(path) for path in finished(run / "checkpoints")}
    if len(by_step) < 2:
        raise ValueError(f"{run} has one checkpoint and nothing to compare it with; expected at least two.")
    return by_step
