"""What a run's training cost: the tokens and the FLOPs that it had spent by each checkpoint, from its own records."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from train.config.reward_terms import read_terms
from train.files.checkpoints import checkpoint_name
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_json, read_metrics, read_parquet
from train.loss.masks import masks_zero_advantages

Options = Mapping[str, Any]  # those of a run's config.yaml
COLUMNS = ("step", "prompt", "correct", "truncated", "completion_ids", "reward", "left_out")


@dataclass(frozen=True, slots=True)
class Compute:
    """The RL compute by a checkpoint, over all processes, without the cold start.

    `tokens` are those of all rollouts, prompts included; `generated` of them were sampled.

    `flops` charges what was done, with N all parameters (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): 2 N for
    each token sampled, and for each of a prompt that was prefilled, once for its group; and at each pass of the loss
    6 N for each token, prompts included, of the rollouts that have a gradient. Rollouts that dynamic sampling left out
    or that the loss masks whole cost their sampling alone. A rollout's prompt counts with the run's mean length.
    Attention over the context is left out, and frozen weights count as trained.
    """

    step: int
    tokens: int
    generated: int
    flops: float


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Counts of some rollouts: of rows, of completion tokens, both of what has a gradient, and of prefilled prompts."""

    rows: int = 0
    tokens: int = 0
    trained_rows: int = 0
    trained_tokens: int = 0
    prefills: int = 0

    def __add__(self, other: "Rollouts") -> "Rollouts":
        return Rollouts(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


def compute_spent(run: Path, steps: Sequence[int], parameters: int) -> list[Compute]:
    """What the run had spent by each of `steps`. Raises ValueError where its records cannot be read or do not tell."""
    options = read_run_config(run / "config.yaml")
    logged = [row for row in read_metrics(run / "metrics.jsonl") if row["phase"] != "cold-start"]
    balanced = any("aux_loss" in row for row in logged)  # experts, which no option tells
    totals = _tokens_logged(run, logged, steps)
    by_step = _rollouts(run / "rollouts.parquet", options, masks_zero_advantages(options) and not balanced)
    compute = []
    for step in steps:
        spent = sum((rollouts for at, rollouts in by_step.items() if at <= step), Rollouts())
        prompt = (totals[step] - spent.tokens) / max(1, spent.rows)
        sampled = spent.tokens + prompt * spent.prefills
        trained = options.get("num_iterations", 1) * (spent.trained_tokens + prompt * spent.trained_rows)
        compute.append(Compute(step, totals[step], spent.tokens, parameters * (2 * sampled + 6 * trained)))
    return compute


def _tokens_logged(run: Path, logged: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> dict[int, int]:
    """Tokens of all rollouts by the end of each step, without evaluation's; its checkpoint's where none are logged."""
    try:
        totals = {0: 0} | {row["step"]: int(row["num_tokens"]) for row in logged if "num_tokens" in row}
    except TypeError:
        raise ValueError(f"{run / 'metrics.jsonl'} has a num_tokens that is not a number.") from None
    return {step: totals[step] if step in totals else _tokens_kept(run, step) for step in steps}


def _tokens_kept(run: Path, step: int) -> int:
    """The tokens by then, from its checkpoint: one may be saved between two logged steps, or on a signal."""
    path = run / "checkpoints" / checkpoint_name(step) / "trainer_state.json"
    try:
        return int(read_json(path)["num_input_tokens_seen"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{run / 'metrics.jsonl'} has no num_tokens at step {step}, and {path} does not tell either ({error})."
        ) from None


def _rollouts(folder: Path, options: Options, masks_groups: bool) -> dict[int, Rollouts]:
    """The rollouts of each step; `masks_groups` says whether groups without variance are masked."""
    by_step: dict[int, Rollouts] = {}
    for path in sorted(folder.glob("train-*.parquet")):
        table = read_parquet(path, COLUMNS)
        if table.num_rows:
            step = table["step"][0].as_py()
            by_step[step] = by_step.get(step, Rollouts()) + _counts(table, path, options, masks_groups)
    if not by_step:
        raise ValueError(f"{folder} holds no training rollouts; expected train-*.parquet, as `train` writes them.")
    return by_step


def _counts(table: pa.Table, path: Path, options: Options, masks_groups: bool) -> Rollouts:
    """What one process sampled in a step; the engine prefills a prompt once, however many samples it has."""
    lengths = pc.list_value_length(table["completion_ids"]).to_numpy()  # (rows,)
    trained = ~table["left_out"].to_numpy()  # (rows,)
    if options.get("method") == "rft":
        trained &= table["correct"].to_numpy()
    else:
        if masks_groups and len(read_terms(options.get("rewards"))) == 1:  # of other rewards no record is kept
            trained[trained] = _vary(table["reward"].to_numpy()[trained], path, options["num_generations"])
        if options.get("mask_truncated_completions"):
            trained &= ~table["truncated"].to_numpy()
    return Rollouts(
        len(lengths),
        int(lengths.sum()),
        int(trained.sum()),
        int(lengths[trained].sum()),
        pc.count_distinct(table["prompt"]).as_py(),
    )


def _vary(rewards: np.ndarray, path: Path, size: int) -> np.ndarray:
    """For each of a process's rewards whether those of its group vary; groups lie one after the other, (rows,)."""
    if len(rewards) % size:
        raise ValueError(f"{path} holds {len(rewards)} rollouts, which is no multiple of num_generations, {size}.")
    groups = rewards.reshape(-1, size)  # (groups, samples)
    return np.repeat(groups.max(1) > groups.min(1), size)
